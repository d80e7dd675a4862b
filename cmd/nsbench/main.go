// Command nsbench compares nsinit with its peers in one run on one machine:
// time from a request to a service's first instruction, time until hundreds of
// services run, memory and tasks of supervision per service, time from a kill to
// the restart, latency of nsctl status, CPU used while nothing happens, and, in
// virtual machines, time from the kernel's handoff until twenty services run; and
// starts, restarts, crowds and throughput of services with a network of their own.
//
// It prints the table, and writes it as Markdown and as an SVG plot. All numbers
// are medians. What it starts lives in a mount namespace and a directory of its
// own, and is gone when it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	runs       int           // starts of each contender
	rounds     int           // times that each supervisor brings up all services
	services   int           // services of a crowd
	idle       time.Duration // how long CPU use is watched
	nsinit     string        // the product's binaries; not measured where missing
	nsctl      string
	markdown   string
	svg        string
	images     string // directory of the images to boot
	accel      string // how QEMU runs them
	bootRounds int    // times that each is booted
	only       string // one part's name, or "" for all
}

func parseOptions() options {
	var o options
	flag.IntVar(&o.runs, "runs", 101, "starts of each contender")
	flag.IntVar(&o.rounds, "rounds", 5, "times that each supervisor brings up all its services")
	flag.IntVar(&o.services, "services", 500, "services that run at once")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long CPU use is watched while nothing happens")
	flag.StringVar(&o.nsinit, "nsinit", "bin/nsinit", "nsinit's binary")
	flag.StringVar(&o.nsctl, "nsctl", "bin/nsctl", "nsctl's binary")
	flag.StringVar(&o.markdown, "out", "packaging/bench/RESULTS.md", "Markdown `file` to write")
	flag.StringVar(&o.svg, "svg", "packaging/bench/results.svg", "SVG `file` to write")
	flag.StringVar(&o.images, "images", "bin/boots", "`directory` of the images to boot, made by packaging/bench/boots/images.sh")
	flag.StringVar(&o.accel, "accel", "tcg", "QEMU's accelerator for them: kvm or tcg")
	flag.IntVar(&o.bootRounds, "boots", 5, "times that each image is booted")
	flag.StringVar(&o.only, "only", "", "measure one part: starts, crowds, restarts, network or boots")
	flag.Parse()
	return o
}

func main() {
	o := parseOptions()
	if err := privateMounts(); err != nil {
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		stop()
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "nsbench:", err)
	os.Exit(1)
}

// run measures everything and writes the report. Processes and files are gone
// when it returns, whatever it returns.
func run(ctx context.Context, o options) (err error) {
	l, err := newLab(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()

	r := newReport(o)
	r.noteLoad()
	for _, part := range []struct {
		name    string
		measure func(context.Context, *lab, *report) error
	}{
		{"starts", measureStarts},
		{"crowds", measureCrowds},
		{"restarts", measureRestarts},
		{"network", measureNetwork},
		{"boots", measureBoots},
	} {
		if o.only != "" && o.only != part.name {
			continue
		}
		fmt.Fprintln(os.Stderr, "nsbench: measuring", part.name)
		if err := part.measure(ctx, l, r); err != nil {
			return fmt.Errorf("cannot measure %s: %w", part.name, err)
		}
	}
	r.noteLoad()
	return r.write(os.Stdout)
}
