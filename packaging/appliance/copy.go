package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// copier copies files of the source into the tree, with what they need to run.
type copier struct {
	libraries
	tree *tree
	done map[string]bool // canonical paths whose needs are in the tree
}

// add copies a file, the links that lead to it and, if it is a program or a
// library, all that it needs.
func (c *copier) add(name string) error { return c.addFor(name, nil) }

// addFor is add for what another object has loaded.
func (c *copier) addFor(name string, loader *object) error {
	real, over, err := c.resolve(name)
	if err != nil {
		return fmt.Errorf("cannot copy %w", err)
	}
	for _, h := range over {
		if err := c.link(h); err != nil {
			return err
		}
	}
	if c.done[real] {
		return nil
	}
	c.done[real] = true
	info, err := os.Stat(c.file(real))
	if err != nil {
		return fmt.Errorf("cannot copy %w", err)
	}
	// set-user-ID bits stay; a program that only its owner may write does too.
	if err := c.tree.file(real, c.file(real), unixMode(info.Mode())); err != nil {
		return err
	}
	return c.needs(real, loader)
}

// link copies a link that was met, unless the image has a directory there: a
// source without the merged /usr is laid out anew.
func (c *copier) link(h hop) error {
	at, err := c.tree.place(h.at)
	if err != nil {
		return err
	}
	if n := c.tree.nodes[at]; n != nil && n.kind() == modeDir {
		return nil
	}
	return c.tree.link(at, h.target)
}

func unixMode(m os.FileMode) uint32 {
	mode := uint32(m.Perm())
	for bit, value := range map[os.FileMode]uint32{os.ModeSetuid: 0o4000, os.ModeSetgid: 0o2000, os.ModeSticky: 0o1000} {
		if m&bit != 0 {
			mode |= value
		}
	}
	return mode
}

// needs copies what a file needs: a script its interpreter, an ELF file its
// loader and libraries.
func (c *copier) needs(real string, loader *object) error {
	interpreter, err := c.scriptInterpreter(real)
	if err != nil {
		return err
	}
	if interpreter != "" {
		if err := c.add(interpreter); err != nil {
			return fmt.Errorf("cannot copy %s, a script: %w", real, err)
		}
		return nil
	}
	o, err := c.readObject(real)
	if err != nil {
		return fmt.Errorf("cannot copy %w", err)
	}
	if o == nil {
		return nil
	}
	o.loader = loader
	if o.interpreter != "" {
		if err := c.add(o.interpreter); err != nil {
			return fmt.Errorf("cannot copy %s: its loader: %w", real, err)
		}
	}
	for _, library := range o.needed {
		if err := c.library(o, library); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) library(o *object, library string) error {
	for p := o; p != nil; p = p.loader {
		if p.soname == library {
			return nil // loaded already
		}
	}
	name, byConfig, err := c.find(o, library)
	if err != nil {
		return fmt.Errorf("cannot copy %s: %w", chain(o), err)
	}
	if err := c.addFor(name, o); err != nil {
		return fmt.Errorf("cannot copy %s: %w", chain(o), err)
	}
	if byConfig {
		return c.tree.link(path.Join(c.defaults(o)[1], library), name)
	}
	return nil
}

// chain says which program an object was to be copied for.
func chain(o *object) string {
	if o.loader == nil {
		return o.name
	}
	first := o
	for first.loader != nil {
		first = first.loader
	}
	return first.name
}

// scriptInterpreter gives the program of a "#!" line, "" if there is none; what
// env(1) would look up is looked up.
func (c *copier) scriptInterpreter(real string) (string, error) {
	f, err := os.Open(c.file(real))
	if err != nil {
		return "", fmt.Errorf("cannot copy %w", err)
	}
	defer f.Close()
	head := make([]byte, 256) // as the kernel, BINPRM_BUF_SIZE
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", fmt.Errorf("cannot copy %s: %w", real, err)
	}
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	words := strings.Fields(string(bytes.TrimPrefix(line, []byte("#!"))))
	if !bytes.HasPrefix(line, []byte("#!")) || len(words) == 0 {
		return "", nil
	}
	if path.Base(words[0]) != "env" {
		return words[0], nil
	}
	if err := c.add(words[0]); err != nil {
		return "", err
	}
	i := slices.IndexFunc(words[1:], func(w string) bool { return w[0] != '-' && !strings.Contains(w, "=") })
	if i < 0 {
		return "", nil
	}
	for _, dir := range []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"} {
		if p := path.Join(dir, words[1+i]); c.exists(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("cannot copy %s, a script: its interpreter %s is in no directory of programs", real, words[1+i])
}

// all copies whatever stands at a path: a directory with all that is in it.
func (c *copier) all(name string) error {
	info, err := os.Lstat(c.file(name))
	if err != nil {
		return fmt.Errorf("cannot copy %w", err)
	}
	switch {
	case info.Mode()&os.ModeSymlink != 0:
		target, err := os.Readlink(c.file(name))
		if err != nil {
			return fmt.Errorf("cannot copy %w", err)
		}
		return c.link(hop{name, target})
	case info.IsDir():
		at, err := c.tree.place(name)
		if err != nil {
			return err
		}
		if c.tree.get(at) != nil {
			return nil
		}
		return c.tree.dir(at, unixMode(info.Mode()))
	case info.Mode().IsRegular():
		return c.add(name)
	}
	return fmt.Errorf("cannot copy %s: neither file, directory nor link", name)
}
