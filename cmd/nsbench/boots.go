package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bootInits are the images that packaging/bench/boots/images.sh makes, by
// directory. Only nsinit's services are isolated.
var bootInits = []struct{ dir, name string }{
	{"finit", "finit (no isolation)"},
	{"runit", "runit (no isolation)"},
	{"s6", "s6-svscan (no isolation)"},
	{"busybox", "busybox init (no isolation)"},
	{"nsinit", nsinitName},
}

// bootServices are in each image, and as many more that start later.
const bootServices = 20

// bootPatience is how long a machine may take to boot and to report.
const bootPatience = time.Minute

// boot is what one boot has shown. Times are ns.
type boot struct {
	first, last float64 // from the kernel's handoff to the first instruction of the first and the last service
	more        float64 // from the first to the last first instruction of as many more that were asked for at once
	usedKiB     int     // MemTotal - MemAvailable at idle
	supervision int     // KiB, private memory and page tables of every process that is no service
}

// bootSet is all boots of one init.
type bootSet struct {
	name     string
	boots    []boot
	failed   int // boots that came to no report
	imageKiB int // initramfs, compressed
}

// of lists one number of every boot.
func (s *bootSet) of(number func(boot) float64) (all []float64) {
	for _, b := range s.boots {
		all = append(all, number(b))
	}
	return all
}

func (s *bootSet) total() float64 { return median(s.of(func(b boot) float64 { return b.last })) }

// launches is what bootServices launches cost: so many more were started at
// once, and between the first of them and the last lie all but one.
func (s *bootSet) launches() float64 {
	return median(s.of(func(b boot) float64 { return b.more })) * bootServices / (bootServices - 1)
}

// measureBoots boots every image o.boots times. They take turns in an order
// drawn anew for each round.
func measureBoots(ctx context.Context, l *lab, r *report) error {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		r.missing("booting", err)
		return nil
	}
	var able []*bootSet
	dirs := map[*bootSet]string{}
	for _, init := range bootInits {
		dir := filepath.Join(l.images, init.dir)
		info, err := os.Stat(filepath.Join(dir, "initramfs.cpio.zst"))
		if err != nil {
			r.missing("booting "+init.name, err)
			continue
		}
		set := &bootSet{name: init.name, imageKiB: int(info.Size() >> 10)}
		able, dirs[set] = append(able, set), dir
	}
	r.boots = slices.Clone(able)
	random := rand.New(rand.NewPCG(3, 4))
	for range l.bootRounds {
		random.Shuffle(len(able), func(i, j int) { able[i], able[j] = able[j], able[i] })
		for _, set := range able {
			b, err := bootOnce(ctx, dirs[set], l.accel)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil: // what other boots and parts have shown is not thrown away for it
				set.failed++
				fmt.Fprintf(os.Stderr, "nsbench: %s: %v\n", set.name, err)
			default:
				set.boots = append(set.boots, b)
			}
		}
	}
	for _, set := range able {
		if set.failed > 0 {
			r.missing("booting "+set.name, fmt.Errorf("%d of %d boots failed", set.failed, l.bootRounds))
		}
	}
	return nil
}

// bootOnce boots an image and reads what its reporter sends over the second
// serial port (packaging/bench/boots/report), then takes the power away.
func bootOnce(ctx context.Context, dir, accel string) (boot, error) {
	ctx, cancel := context.WithTimeout(ctx, bootPatience)
	defer cancel()
	console, err := os.CreateTemp("", "nsbench-console-")
	if err != nil {
		return boot{}, err
	}
	defer os.Remove(console.Name())
	defer console.Close()
	var said bytes.Buffer
	// The kernel's check of its timer fails where the processor is emulated and busy.
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-M", "q35", "-accel", accel, "-cpu", "max", "-smp", "2", "-m", "512",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(dir, "vmlinuz"), "-initrd", filepath.Join(dir, "initramfs.cpio.zst"),
		"-append", "console=ttyS0 quiet panic=-1 no_timer_check", "-serial", "file:"+console.Name(), "-serial", "stdio")
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return boot{}, err
	}
	if err := cmd.Start(); err != nil {
		return boot{}, err
	}
	var text strings.Builder
	ended := false
	for lines := bufio.NewScanner(out); !ended && lines.Scan(); {
		line := strings.TrimRight(lines.Text(), "\r")
		text.WriteString(line + "\n")
		ended = line == bootEnd
	}
	cmd.Process.Kill()
	cmd.Wait()
	if !ended {
		shown, _ := os.ReadFile(console.Name())
		return boot{}, errors.Join(ctx.Err(), fmt.Errorf("the machine did not report: %s\non its console: %s", said.Bytes(), shown[:min(len(shown), 8000)]))
	}
	return parseBoot(text.String())
}
