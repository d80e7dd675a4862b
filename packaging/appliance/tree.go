package main

import (
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// The kinds of nodes, as in st_mode (inode(7)).
const (
	modeType  = 0o170000
	modeFile  = 0o100000
	modeDir   = 0o040000
	modeLink  = 0o120000
	modeChar  = 0o020000
	maxFollow = 40 // links in one path, as the kernel
)

// node is one file of the image.
type node struct {
	mode         uint32 // with its kind
	uid, gid     int
	target       string // of a link
	major, minor uint32 // of a device
	data         []byte // of a file without from
	from         string // file of this machine that the content is read from
	size         int64
}

func (n *node) kind() uint32 { return n.mode & modeType }

// content gives what a regular file holds.
func (n *node) content() (io.ReadCloser, error) {
	if n.from == "" {
		return io.NopCloser(strings.NewReader(string(n.data))), nil
	}
	return os.Open(n.from)
}

// tree is the image's file system, by cleaned absolute path. No parent of a
// path in it is a link: put resolves them.
type tree struct {
	nodes map[string]*node
}

func newTree() *tree {
	return &tree{nodes: map[string]*node{"/": {mode: modeDir | 0o755}}}
}

// place resolves the links in a path's parents by what is in the tree.
func (t *tree) place(name string) (string, error) {
	left, done := split(name), "/"
	for follow := 0; len(left) > 1; {
		next := path.Join(done, left[0])
		left = left[1:]
		n := t.nodes[next]
		if n == nil || n.kind() != modeLink {
			done = next
			continue
		}
		if follow++; follow > maxFollow {
			return "", fmt.Errorf("cannot place %s: too many links in it", name)
		}
		if path.IsAbs(n.target) {
			done = "/"
		}
		left = append(split(n.target), left...)
	}
	if len(left) == 0 {
		return done, nil
	}
	return path.Join(done, left[0]), nil
}

// split gives the components of a path. ".." stays: path.Join resolves it where
// it is met.
func split(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool { return r == '/' })
}

// put places a node and makes the directories above it. What is there already
// is replaced, but a directory, which only gets the new one's mode and owner.
func (t *tree) put(name string, n *node) error {
	at, err := t.place(name)
	if err != nil {
		return err
	}
	old := t.nodes[at]
	if old != nil && old.kind() == modeDir && n.kind() != modeDir {
		return fmt.Errorf("cannot place %s: a directory is there", at)
	}
	if err := t.parents(at); err != nil {
		return err
	}
	t.nodes[at] = n
	return nil
}

func (t *tree) parents(at string) error {
	for dir := path.Dir(at); ; dir = path.Dir(dir) {
		switch n := t.nodes[dir]; {
		case n == nil:
			t.nodes[dir] = &node{mode: modeDir | 0o755}
		case n.kind() != modeDir:
			return fmt.Errorf("cannot place %s: %s is not a directory", at, dir)
		}
		if dir == "/" {
			return nil
		}
	}
}

func (t *tree) dir(name string, mode uint32) error {
	return t.put(name, &node{mode: modeDir | mode})
}

func (t *tree) text(name, text string, mode uint32) error {
	return t.put(name, &node{mode: modeFile | mode, data: []byte(text), size: int64(len(text))})
}

func (t *tree) link(name, target string) error {
	return t.put(name, &node{mode: modeLink | 0o777, target: target})
}

// file places a copy of a file of this machine.
func (t *tree) file(name, from string, mode uint32) error {
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("cannot copy to %s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("cannot copy %s to %s: not a regular file", from, name)
	}
	return t.put(name, &node{mode: modeFile | mode, from: from, size: info.Size()})
}

// get follows links to the node that a path means, nil if there is none.
func (t *tree) get(name string) *node {
	for range maxFollow {
		at, err := t.place(name)
		if err != nil {
			return nil
		}
		n := t.nodes[at]
		if n == nil || n.kind() != modeLink {
			return n
		}
		if name = n.target; !path.IsAbs(name) {
			name = path.Join(path.Dir(at), name)
		}
	}
	return nil
}

// paths lists the tree, every directory before what is in it.
func (t *tree) paths() []string {
	list := make([]string, 0, len(t.nodes))
	for name := range t.nodes {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}
