package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/supervisor/control"
)

const (
	processesMax = 512  // that a status lists
	commandMax   = 4096 // bytes of a command line
)

// processesOf describes the payload's processes, by pid. more is how many were
// left out. A number that was given away between list and look is left out: it
// is not in the second list.
func processesOf(c *launch.Generation) (list []control.Process, more int, err error) {
	pids, err := c.Procs()
	if err != nil {
		return nil, 0, err
	}
	slices.Sort(pids)
	if len(pids) > processesMax {
		pids, more = pids[:processesMax], len(pids)-processesMax
	}
	for _, pid := range pids {
		if p, err := readProcess(pid); err == nil {
			list = append(list, p)
		}
	}
	still, err := c.Procs()
	if err != nil {
		return nil, 0, err
	}
	slices.Sort(still)
	list = slices.DeleteFunc(list, func(p control.Process) bool {
		_, found := slices.BinarySearch(still, p.PID)
		return !found
	})
	return list, more, nil
}

// readProcess reads /proc/PID/{stat,cmdline,status}.
func readProcess(pid int) (control.Process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return control.Process{}, err
	}
	p := control.Process{PID: pid, PIDInside: insidePID(pid)}
	if p.Name, p.PPID, err = parseStat(string(stat)); err != nil {
		return p, err
	}
	if p.PIDInside == pid {
		p.PIDInside = 0
	}
	if b, err := readStart(fmt.Sprintf("/proc/%d/cmdline", pid), commandMax); err == nil {
		p.Command = commandLine(b)
	}
	return p, nil
}

// parseStat takes comm and ppid from a line of proc_pid_stat(5). The comm may
// have any character in it, ")" too.
func parseStat(line string) (comm string, ppid int, err error) {
	from, to := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if from < 0 || to < from {
		return "", 0, errors.New("cannot read stat: no comm")
	}
	rest := strings.Fields(line[to+1:])
	if len(rest) < 2 {
		return "", 0, errors.New("cannot read stat: no ppid")
	}
	ppid, err = strconv.Atoi(rest[1])
	return line[from+1 : to], ppid, err
}

// commandLine joins the arguments with spaces.
func commandLine(b []byte) string {
	b = bytes.TrimRight(b, "\x00")
	return strings.ToValidUTF8(string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})), "\ufffd")
}

// readStart reads at most n bytes of a file.
func readStart(path string, n int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, n)
	got, err := f.Read(b)
	if got > 0 {
		err = nil
	}
	return b[:got], err
}

// namespaceFiles are the names of the kinds in /proc/PID/ns (namespaces(7)) and
// in unit files, in the order in which status shows them.
var namespaceFiles = [...]struct{ kind, file string }{{"mount", "mnt"}, {"pid", "pid"}, {"net", "net"}, {"ipc", "ipc"}, {"uts", "uts"},
	{"cgroup", "cgroup"}, {"user", "user"}, {"time", "time"}}

// namespacesOf compares the namespaces of a process with this one's.
func namespacesOf(pid int) []control.Namespace {
	var out []control.Namespace
	for _, ns := range namespaceFiles {
		theirs, err := inodeOf(fmt.Sprintf("/proc/%d/ns/%s", pid, ns.file))
		if err != nil {
			continue
		}
		ours, err := inodeOf("/proc/self/ns/" + ns.file)
		out = append(out, control.Namespace{Type: ns.kind, Inode: theirs, Private: err == nil && ours != theirs})
	}
	return out
}

func inodeOf(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return st.Ino, err
}
