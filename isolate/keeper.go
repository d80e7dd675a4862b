package isolate

import "golang.org/x/sys/unix"

// keeperName is what ps shows for the process that holds the manager's
// descriptors.
const keeperName = "nsinit: keeper"

// CompileKeeper gives the steps of the process that holds what the manager
// keeps over its own death. It stays in the host's namespaces, and needs
// nothing of them. Every signal stays blocked, as the clone left it: the keys of
// a terminal and whoever ends things by name mean the manager, and only root,
// who may as well send SIGKILL, could queue some here.
func CompileKeeper() *Program {
	c := &compiler{prog: &Program{Unit: "keeper"}}
	c.add(prctl(ClassNamespace, "no dump", unix.PR_SET_DUMPABLE, 0), ownGroup())
	c.add(Step{Call: CallSetsid, Class: ClassSetsid})
	c.add(Step{Call: CallPrctl, Args: []Arg{Int(unix.PR_SET_NAME), Str(keeperName)}, Class: ClassNamespace, What: "named " + keeperName})
	c.add(Step{Call: CallChdir, Args: []Arg{Str("/")}, Class: ClassChdir, What: "/"})
	c.add(capset(0, 0, 0), prctl(ClassNoNewPrivs, "no new privileges", unix.PR_SET_NO_NEW_PRIVS, 1))
	return c.prog
}
