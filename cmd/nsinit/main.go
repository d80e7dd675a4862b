// Command nsinit is the service manager of one instance, in the foreground.
//
//	nsinit [--instance NAME] [--unit-path DIR[:DIR...]] [--runtime-dir DIR] [--log-dir DIR]
//
// SIGTERM and SIGINT stop every service in order and then the manager; SIGHUP
// reads the unit files again; SIGKILL stops nothing but the manager, and the
// next one takes the services over.
//
// Go would keep files of the cgroup open to follow its CPU limit:
//
//go:debug updatemaxprocs=0
//go:debug containermaxprocs=0
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"

	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/supervisor"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "devel"

func main() {
	cfg, err := parse(os.Args[1:])
	if err == nil {
		err = run(cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nsinit:", err)
		os.Exit(1)
	}
}

// parse reads the command line.
func parse(args []string) (supervisor.Config, error) {
	f := flag.NewFlagSet("nsinit", flag.ExitOnError)
	instance := f.String("instance", "nsinit", "`name` of the instance: names /run/NAME, /var/log/NAME, /etc/NAME and the cgroup")
	unitPath := f.String("unit-path", "", "`directories` of unit files, separated by colons, instead of the instance's")
	runtimeDir := f.String("runtime-dir", "", "`directory` of sockets, records and state (on a tmpfs), instead of /run/NAME")
	logDir := f.String("log-dir", "", "`directory` of logs, instead of /var/log/NAME")
	target := f.String("unit", "default", "`unit` that the first start aims at")
	parent := f.String("cgroup-parent", "", "`cgroup`, relative to the cgroup2 mount, in which the instance's is made")
	initOf := f.String("init-of", "", "what process 1, which starts this, is the init of: `machine` or container")
	console := f.String("console", "", "`file` that shows what happens between boot and the target, and at the end (a machine's: /dev/console; none)")
	debug := f.Bool("debug", false, "log more")
	showVersion := f.Bool("version", false, "print the version and exit")
	f.Parse(args) // ExitOnError
	if *showVersion {
		fmt.Println("nsinit", version)
		os.Exit(0)
	}
	if f.NArg() > 0 {
		return supervisor.Config{}, fmt.Errorf("unexpected argument %q; see nsinit --help", f.Arg(0))
	}
	cfg := supervisor.DefaultConfig(*instance)
	cfg.Version, cfg.Target, cfg.CgroupParent = version, *target, *parent
	if *unitPath != "" {
		cfg.UnitPath = filepath.SplitList(*unitPath)
	}
	for dir, p := range map[string]*string{*runtimeDir: &cfg.RuntimeDir, *logDir: &cfg.LogDir} {
		if dir != "" {
			abs, err := filepath.Abs(dir)
			if err != nil {
				return cfg, err
			}
			*p = abs
		}
	}
	switch cfg.OwnMachine = *initOf != ""; *initOf {
	case "", "machine", "container":
	default:
		return cfg, fmt.Errorf("cannot be the manager of %q: --init-of takes machine or container", *initOf)
	}
	cfg.Console, cfg.Quiet = consoleOf(*console, *initOf)
	cfg.Logger = logger(*debug)
	return cfg, nil
}

// consoleOf is where the console lines go. A machine's kernel command line says
// "quiet", which keeps those that tell of a failure.
func consoleOf(path, initOf string) (console string, quiet bool) {
	if initOf == "machine" {
		line, _ := os.ReadFile("/proc/cmdline") // without one nobody has asked for quiet
		words, _, _ := strings.Cut(" "+string(line)+" ", " -- ")
		quiet = slices.Contains(strings.Fields(words), "quiet")
		path = cmp.Or(path, "/dev/console")
	}
	if path == "none" {
		path = ""
	}
	return path, quiet
}

// logger writes for people on a terminal, and JSON otherwise.
func logger(debug bool) zerolog.Logger {
	level := zerolog.InfoLevel
	if debug {
		level = zerolog.DebugLevel
	}
	out := zerolog.ConsoleWriter{Out: os.Stderr, NoColor: true, TimeFormat: "15:04:05"}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}

// run serves until a signal asks for the end.
func run(cfg supervisor.Config) error {
	if err := launch.ProtectBinary(); err != nil {
		return err
	}
	// Whoever reads what is logged may go away: that is no reason to.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	m, err := supervisor.New(cfg)
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range hup {
			m.Reload()
		}
	}()
	err = m.Run(ctx, func() { daemon.SdNotify(false, daemon.SdNotifyReady) })
	signal.Stop(hup)
	close(hup)
	<-done
	return err
}
