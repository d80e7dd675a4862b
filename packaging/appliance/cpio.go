package main

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

func initramfsName(compress string) string {
	return "initramfs.cpio" + map[string]string{"zstd": ".zst", "gzip": ".gz"}[compress]
}

// writeInitramfs writes the tree as a compressed cpio archive.
func (t *tree) writeInitramfs(name, compress string, mtime time.Time) error {
	return writeWhole(name, func(f *os.File) error {
		archive := func(w io.Writer) error { return t.writeCpio(w, mtime) }
		switch compress {
		case "none":
			return archive(f)
		case "gzip":
			z, _ := gzip.NewWriterLevel(f, gzip.BestCompression)
			if err := archive(z); err != nil {
				return err
			}
			return z.Close()
		case "zstd":
			// One thread: how the work is divided shows in the result.
			return through(f, archive, "zstd", "-q", "-c", "--single-thread", "-15")
		}
		return fmt.Errorf("no compression %q; there are zstd, gzip and none", compress)
	})
}

// through has write fill the input of a program whose output is f.
func through(f *os.File, write func(io.Writer) error, argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = f, &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	writeErr := write(in)
	in.Close()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", argv[0], err, strings.TrimSpace(said.String()))
	}
	return writeErr
}

// writeCpio writes the "newc" format (driver-api/early-userspace/buffer-format
// of the kernel), with inode numbers in the order of the paths.
func (t *tree) writeCpio(w io.Writer, mtime time.Time) error {
	c := &cpio{w: bufio.NewWriter(w), mtime: mtime.Unix()}
	for _, name := range t.paths() {
		if name == "/" {
			continue // the kernel's own; a mode given here would change it
		}
		if err := c.add(name[1:], t.nodes[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := c.header("TRAILER!!!", &node{}, 0, 1); err != nil {
		return err
	}
	return c.w.Flush()
}

type cpio struct {
	w     *bufio.Writer
	mtime int64
	inode int
	n     int64 // bytes written
}

func (c *cpio) add(name string, n *node) error {
	c.inode++
	links := 1
	if n.kind() == modeDir {
		links = 2
	}
	switch n.kind() {
	case modeLink:
		if err := c.header(name, n, int64(len(n.target)), links); err != nil {
			return err
		}
		return c.pad(c.w.WriteString(n.target))
	case modeFile:
		return c.file(name, n, links)
	}
	return c.header(name, n, 0, links)
}

func (c *cpio) file(name string, n *node, links int) error {
	if n.size > 1<<32-1 {
		return fmt.Errorf("%d bytes; an initramfs takes no file of 4 GiB or more", n.size)
	}
	if err := c.header(name, n, n.size, links); err != nil {
		return err
	}
	r, err := n.content()
	if err != nil {
		return err
	}
	defer r.Close()
	copied, err := io.CopyN(c.w, r, n.size)
	if err != nil {
		return fmt.Errorf("cannot copy %s, which changed: %w", n.from, err)
	}
	return c.pad(int(copied), nil)
}

func (c *cpio) header(name string, n *node, size int64, links int) error {
	written, err := fmt.Fprintf(c.w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.inode, n.mode, n.uid, n.gid, links, c.mtime, size, 0, 0, n.major, n.minor, len(name)+1, 0, name)
	return c.pad(written, err)
}

// pad fills up to a multiple of four bytes.
func (c *cpio) pad(written int, err error) error {
	if err != nil {
		return err
	}
	c.n += int64(written)
	for ; c.n%4 != 0; c.n++ {
		if err := c.w.WriteByte(0); err != nil {
			return err
		}
	}
	return nil
}
