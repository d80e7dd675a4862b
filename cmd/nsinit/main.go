// Command nsinit is the service manager of one instance, in the foreground, or,
// where it is process 1, what keeps that manager running (package reaper/pid1).
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
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/reaper/pid1"
	"github.com/nsinit/nsinit/supervisor"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "devel"

func main() {
	if os.Getpid() == 1 {
		if !slices.Contains(os.Args[1:], "--"+reaper.OptionManager) {
			os.Exit(pid1.Main(pid1.Options{Version: version, Built: built(), Args: os.Args[1:], Protected: launch.Protected}))
		}
		pid1.Decline()
	}
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
	target := f.String(reaper.OptionUnit, supervisor.DefaultTarget, "`unit` that the first start aims at")
	parent := f.String("cgroup-parent", "", "`cgroup`, relative to the cgroup2 mount, in which the instance's is made")
	initOf := f.String(reaper.OptionInitOf, "", "what process 1, which starts this, is the init of: `machine` or container")
	console := f.String("console", "", "`file` that shows what happens between boot and the target, and at the end (a machine's: /dev/console; none)")
	watchdog := f.Uint(reaper.OptionWatchdog, 0, "`seconds` after which the hardware watchdog resets the machine when the manager hangs, instead of nsinit.toml's watchdog_sec")
	stopOnly := f.Bool(reaper.OptionStop, false, "stop in order what an earlier manager left, and end: process 1 starts this where no manager runs at the end")
	took := f.Duration(reaper.OptionKernelTook, 0, "how long the machine's kernel took before process 1 ran, for nsctl analyze")
	f.Bool(reaper.OptionManager, false, "be the manager even as process 1")
	more := f.Bool(reaper.OptionDebug, false, "log more")
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
	cfg.Watchdog = time.Duration(*watchdog) * time.Second
	cfg.KernelTook = *took
	cfg.OwnMachine, cfg.Boot = *initOf != "", *initOf == reaper.InitOfMachine
	cfg.StopOnly = *stopOnly
	switch *initOf {
	case "", reaper.InitOfMachine, reaper.InitOfContainer:
	default:
		return cfg, fmt.Errorf("cannot be the manager of %q: --init-of takes machine or container", *initOf)
	}
	cfg.Console, cfg.Quiet = consoleOf(*console, *initOf)
	cfg.Logger = logger(*more, *initOf == reaper.InitOfMachine)
	return cfg, nil
}

// consoleOf is where the console lines go. A machine's kernel command line says
// "quiet", which keeps those that tell of a failure.
func consoleOf(path, initOf string) (console string, quiet bool) {
	if initOf == reaper.InitOfMachine {
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

// built is the time of the commit that this was built from, zero if unknown.
func built() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, _ := time.Parse(time.RFC3339, s.Value)
			return t
		}
	}
	return time.Time{}
}

// logger writes for people, to standard error or, as the machine's own, to the
// kernel's log: that is there from the first moment, and never blocks as a
// console does that was stopped by ctrl-s.
func logger(debug, machine bool) zerolog.Logger {
	level := zerolog.InfoLevel
	if debug {
		level = zerolog.DebugLevel
	}
	if machine {
		if kmsg, err := openKmsg(); err == nil {
			return zerolog.New(kmsg).Level(level)
		}
	}
	out := zerolog.ConsoleWriter{Out: os.Stderr, NoColor: true, TimeFormat: "15:04:05"}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}

// run serves until a signal asks for the end.
func run(cfg supervisor.Config) error {
	if err := launch.ProtectBinary(); err != nil {
		return err
	}
	if cfg.OwnMachine && os.Getppid() == 1 {
		unix.CloseOnExec(reaper.FDReady) // executing again, above, has kept it
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
	err = m.Run(ctx, func() {
		daemon.SdNotify(false, daemon.SdNotifyReady)
		if cfg.OwnMachine && os.Getppid() == 1 {
			unix.Write(reaper.FDReady, []byte{1})
		}
	})
	signal.Stop(hup)
	close(hup)
	<-done
	return err
}
