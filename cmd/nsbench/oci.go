package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// hiddenDirectories are the empty or private directories of the default profile,
// as far as this machine has them.
func hiddenDirectories() []string {
	return existing("/tmp", "/var/tmp", "/run", "/home", "/root", "/boot")
}

// readOnlyKernelPaths and maskedKernelFiles are what container engines and nsinit
// alike keep from a service in /proc.
func readOnlyKernelPaths() []string {
	return existing("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
}

func maskedKernelFiles() []string {
	return existing("/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug")
}

func existing(paths ...string) []string {
	var there []string
	for _, path := range paths {
		if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSymlink == 0 {
			there = append(there, path)
		}
	}
	return there
}

// bundle starts the probe with an OCI runtime. Its root is the machine's own
// tree, read-only, one bind mount made at setup.
type bundle struct {
	runtime string
	global  []string // options before the command
	unified bool     // it refuses a hybrid cgroup hierarchy
	command
	root   string
	serial int
}

func (b *bundle) name() string { return b.runtime + " run, same namespaces and mounts" }

func (b *bundle) setup(l *lab) error {
	path, err := exec.LookPath(b.runtime)
	if err != nil {
		return err
	}
	dir, err := l.sub(b.runtime)
	if err != nil {
		return err
	}
	root := filepath.Join(dir, "rootfs")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/", root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot bind / on %s: %w", root, err)
	}
	b.root = root
	config, err := json.Marshal(ociConfig(l.probe))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644); err != nil {
		return err
	}
	b.path = path
	b.args = slices.Concat([]string{b.runtime, "--root", filepath.Join(dir, "state")}, b.global,
		[]string{"run", "--bundle", dir, ""})
	b.out, err = newStampReader()
	return err
}

func (b *bundle) start(ctx context.Context) (requested, first int64, err error) {
	b.serial++
	b.args[len(b.args)-1] = fmt.Sprintf("nsbench-%d-%d", os.Getpid(), b.serial)
	if b.unified {
		uncover, err := coverCgroups()
		if err != nil {
			return 0, 0, err
		}
		defer uncover()
	}
	return b.command.start(ctx)
}

const cgroupRoot = "/sys/fs/cgroup"

// coverCgroups mounts cgroup v2 over a hierarchy of another kind, in this
// program's own mount namespace, until uncover is called.
func coverCgroups() (uncover func(), err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
		return func() {}, nil
	}
	if err := unix.Mount("cgroup2", cgroupRoot, "cgroup2", 0, ""); err != nil {
		return nil, fmt.Errorf("cannot mount cgroup2 on %s: %w", cgroupRoot, err)
	}
	return func() { unix.Unmount(cgroupRoot, unix.MNT_DETACH) }, nil
}

func (b *bundle) close() error {
	err := b.command.close()
	if b.root != "" {
		if e := unix.Unmount(b.root, unix.MNT_DETACH); e != nil {
			return fmt.Errorf("cannot unmount %s: %w", b.root, e)
		}
	}
	return err
}

type object = map[string]any

// ociConfig is the config.json (OCI runtime specification 1.0) of a bundle with
// the namespaces, mounts and capabilities of nsinit's default profile.
func ociConfig(program string) object {
	capabilities := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"}
	mounts := []object{
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		{"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": []string{"nosuid", "noexec", "nodev", "mode=1777"}},
		{"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": []string{"nosuid", "noexec", "nodev"}},
		{"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": []string{"nosuid", "noexec", "nodev", "ro"}},
	}
	for _, dir := range hiddenDirectories() {
		mounts = append(mounts, object{"destination": dir, "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "nodev"}})
	}
	var namespaces []object
	for _, kind := range []string{"pid", "network", "ipc", "uts", "mount", "cgroup"} {
		namespaces = append(namespaces, object{"type": kind})
	}
	return object{
		"ociVersion": "1.0.2",
		"hostname":   "probe",
		"root":       object{"path": "rootfs", "readonly": true},
		"mounts":     mounts,
		"process": object{
			"args": []string{program}, "cwd": "/", "env": []string{"PATH=/usr/bin:/bin"},
			"user": object{"uid": 0, "gid": 0}, "noNewPrivileges": true,
			"capabilities": object{"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
		},
		"linux": object{
			"namespaces":    namespaces,
			"readonlyPaths": readOnlyKernelPaths(),
			"maskedPaths":   maskedKernelFiles(),
		},
	}
}
