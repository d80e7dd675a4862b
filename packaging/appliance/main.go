// Command appliance makes a bootable image in which nsinit is /sbin/init: an
// initramfs and, from the same tree, a squashfs.
//
//	go run ./packaging/appliance -kernel DIR [-o DIR] LIST...
//
// A LIST says what is in the image, a line a thing; README.md beside this file
// has the words. What it names is copied from this machine with all that it
// needs to run. The same input gives the same bytes, whoever builds, and
// nobody needs to be root for it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// options are the command line.
type options struct {
	out, root, kernel, nsinit, nsctl, compress string
	squashfs                                   bool
	lists                                      []string
}

func main() {
	var o options
	flag.StringVar(&o.out, "o", "bin/appliance", "`directory` that the image is written to")
	flag.StringVar(&o.root, "root", "/", "`directory` of the system that programs and packages are copied from")
	flag.StringVar(&o.kernel, "kernel", "", "`directory` of an unpacked kernel package (kernel.sh makes one); none: no kernel and no modules")
	flag.StringVar(&o.nsinit, "nsinit", "bin/nsinit", "`file` that becomes /usr/sbin/nsinit; empty: an image without nsinit and nsctl, whose list brings an /init")
	flag.StringVar(&o.nsctl, "nsctl", "bin/nsctl", "`file` that becomes /usr/bin/nsctl")
	flag.StringVar(&o.compress, "compress", "zstd", "how the initramfs is compressed: zstd, gzip or none")
	flag.BoolVar(&o.squashfs, "squashfs", true, "make root.squashfs too")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: appliance [options] LIST...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if o.lists = flag.Args(); len(o.lists) == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := o.build(); err != nil {
		fmt.Fprintln(os.Stderr, "appliance:", err)
		os.Exit(1)
	}
}

// build makes the tree once and writes it in each form.
func (o options) build() error {
	mtime, err := sourceDate()
	if err != nil {
		return err
	}
	d, err := readLists(o.lists)
	if err != nil {
		return err
	}
	im := newImage(o, d)
	if err := im.fill(); err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return fmt.Errorf("cannot make the image's directory: %w", err)
	}
	if im.kernel != nil {
		if err := writeWhole(filepath.Join(o.out, "vmlinuz"), im.kernel.copyImage); err != nil {
			return err
		}
	}
	if err := im.tree.writeInitramfs(filepath.Join(o.out, initramfsName(o.compress)), o.compress, mtime); err != nil {
		return err
	}
	if !o.squashfs {
		return nil
	}
	return im.tree.writeSquashfs(filepath.Join(o.out, "root.squashfs"), mtime)
}

// sourceDate is the time of every file in the image: SOURCE_DATE_EPOCH
// (reproducible-builds.org), or the epoch.
func sourceDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return time.Time{}, fmt.Errorf("cannot use SOURCE_DATE_EPOCH=%s: want seconds since 1970", text)
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// writeWhole has write fill a file that appears under its name when it is
// complete.
func writeWhole(path string, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".appliance-")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := write(f); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := f.Chmod(0o644); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
