package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The scripts of the peers: each has the functions prepare, up and down. What
// prepare makes, a bridge and a table, is there before the request.
var (
	//go:embed net/cni.sh
	cniScript string
	//go:embed net/plain.sh
	plainScript string
)

const (
	wiredCNIName   = "crun run + CNI's bridge and portmap"
	wiredPlainName = "crun run + a script of ip and nft"
)

// wired starts the probe with crun in a network namespace that a script has
// connected: a veth on a bridge, an address, a default route, a published port.
type wired struct {
	title, script string
	needs         []string // programs

	thread *thread
	dir    string
	state  string
	crun   string
	out    *stampReader
}

func wiredPeers() []*wired {
	return []*wired{
		{title: wiredCNIName, script: cniScript, needs: []string{"/usr/lib/cni/bridge", "/usr/lib/cni/portmap", "iptables", "ip"}},
		{title: wiredPlainName, script: plainScript, needs: []string{"ip", "nft"}},
	}
}

func (w *wired) name() string { return w.title }

// setup makes the peer's own machine: a network and a mount namespace with the
// bridge in it, and bundles for n services.
func (w *wired) setup(l *lab, program string, n int) (err error) {
	for _, need := range w.needs {
		if _, err := exec.LookPath(need); err != nil {
			return err
		}
	}
	if w.crun, err = exec.LookPath("crun"); err != nil {
		return err
	}
	if w.dir, err = l.sub("wired"); err != nil {
		return err
	}
	if w.state, err = l.runtimeDir("wired"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, "wire.sh"), []byte(w.script), 0o755); err != nil {
		return err
	}
	if err := w.bundles(program, n); err != nil {
		return err
	}
	if w.out, err = newStampReader(); err != nil {
		return err
	}
	w.thread, err = newThread(unix.CLONE_NEWNS|unix.CLONE_NEWNET, w.furnish)
	return err
}

func (w *wired) bundles(program string, n int) error {
	for i := range n {
		dir := filepath.Join(w.dir, fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Join(dir, "rootfs"), 0o755); err != nil {
			return err
		}
		config := ociConfig(program, netnsDir+w.id(i))
		config["root"] = object{"path": filepath.Join(w.dir, "rootfs"), "readonly": true}
		text, err := json.Marshal(config)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
			return err
		}
	}
	return os.Mkdir(filepath.Join(w.dir, "rootfs"), 0o755)
}

// netnsDir is where ip(8) pins network namespaces.
const netnsDir = "/run/netns/"

// furnish runs on the thread.
func (w *wired) furnish() error {
	root := filepath.Join(w.dir, "rootfs")
	if err := unix.Mount("/", root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot bind / on %s: %w", root, err)
	}
	if err := coverCgroups(); err != nil {
		return err
	}
	// A tmpfs over /run: namespaces and the plugins' notes go with the thread.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("cannot mount a tmpfs on /run: %w", err)
	}
	return w.run(exec.Command("sh", "-ec", `. "$0/wire.sh"; prepare`, w.dir))
}

func (w *wired) run(cmd *exec.Cmd) error {
	cmd.Dir = w.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (w *wired) id(i int) string { return fmt.Sprintf("nsb%d-%d", os.Getpid(), i) }

// upScript makes the connection of service $2 and becomes the runtime that runs it.
const upScript = `. "$0/wire.sh"; up "$1" "$2"; exec "$3" --root "$4" run --bundle "$0/$2" "$1"`

// start connects and runs the service i, waits for its end, and takes the
// connection down, which is not measured.
func (w *wired) start(ctx context.Context, i int) (requested, first int64, err error) {
	w.thread.do(func() {
		cmd := exec.CommandContext(ctx, "sh", "-ec", upScript, w.dir, w.id(i), fmt.Sprint(i), w.crun, w.state)
		var said strings.Builder
		cmd.Dir, cmd.Stdout, cmd.Stderr = w.dir, w.out.writer, &said
		requested = monotonic()
		if err = cmd.Run(); err != nil {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
		}
		err = errors.Join(err, w.run(exec.CommandContext(ctx, "sh", "-ec", `. "$0/wire.sh"; down "$1" "$2"`, w.dir, w.id(i), fmt.Sprint(i))))
	})
	if err != nil {
		return 0, 0, err
	}
	first, err = w.out.next(ctx)
	return requested, first, err
}

// detached connects and runs the service i, and leaves it running.
func (w *wired) detached(ctx context.Context, i int) (err error) {
	w.thread.do(func() {
		// The runtime's own output is the container's: what it says lands among the
		// instants, which are picked out of it.
		cmd := exec.CommandContext(ctx, "sh", "-ec", strings.Replace(upScript, " run ", " run --detach ", 1), w.dir, w.id(i), fmt.Sprint(i), w.crun, w.state)
		cmd.Dir, cmd.Stdout, cmd.Stderr = w.dir, w.out.writer, w.out.writer
		err = cmd.Run()
	})
	return err
}

// end takes down what detached has put up.
func (w *wired) end(ctx context.Context, i int) (err error) {
	w.thread.do(func() {
		err = w.run(exec.CommandContext(ctx, "sh", "-ec", `. "$0/wire.sh"; "$3" --root "$4" delete --force "$1"; down "$1" "$2"`,
			w.dir, w.id(i), fmt.Sprint(i), w.crun, w.state))
	})
	return err
}

func (w *wired) close() error {
	if w.out != nil {
		w.out.close()
	}
	if w.thread != nil {
		w.thread.end()
	}
	return nil
}
