package main

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// writeSquashfs has sqfstar (squashfs-tools 4.5) make the file system from a
// tar stream: owners and devices need neither root nor a directory that holds
// them.
func (t *tree) writeSquashfs(name string, mtime time.Time) error {
	dir, err := os.MkdirTemp(filepath.Dir(name), ".squashfs-")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "root")
	cmd := exec.Command("sqfstar", "-quiet", "-no-progress", "-reproducible", "-comp", "zstd", "-no-xattrs",
		"-mkfs-time", fmt.Sprint(mtime.Unix()), "-all-time", fmt.Sprint(mtime.Unix()), "-root-mode", "0755", "-root-uid", "0", "-root-gid", "0", made)
	cmd.Env = withoutEpoch(os.Environ()) // it refuses both
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot write %s (sqfstar is in squashfs-tools): %w", name, err)
	}
	writeErr := t.writeTar(in, mtime)
	in.Close()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("cannot write %s: sqfstar: %w: %s", name, err, strings.TrimSpace(said.String()))
	}
	if writeErr != nil {
		return fmt.Errorf("cannot write %s: %w", name, writeErr)
	}
	return os.Rename(made, name)
}

func withoutEpoch(env []string) (out []string) {
	for _, e := range env {
		if !strings.HasPrefix(e, "SOURCE_DATE_EPOCH=") {
			out = append(out, e)
		}
	}
	return out
}

func (t *tree) writeTar(w io.Writer, mtime time.Time) error {
	archive := tar.NewWriter(w)
	for _, name := range t.paths() {
		if name == "/" {
			continue
		}
		if err := addTar(archive, name[1:], t.nodes[name], mtime); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return archive.Close()
}

func addTar(archive *tar.Writer, name string, n *node, mtime time.Time) error {
	h := &tar.Header{Name: name, Mode: int64(n.mode &^ modeType), Uid: n.uid, Gid: n.gid, ModTime: mtime, Format: tar.FormatGNU}
	switch n.kind() {
	case modeDir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case modeLink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, n.target
	case modeChar:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(n.major), int64(n.minor)
	default:
		h.Typeflag, h.Size = tar.TypeReg, n.size
	}
	if err := archive.WriteHeader(h); err != nil || n.kind() != modeFile {
		return err
	}
	r, err := n.content()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyN(archive, r, n.size)
	return err
}
