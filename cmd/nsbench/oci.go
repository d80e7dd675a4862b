package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

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
	return existing("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/proc/tty")
}

func maskedKernelFiles() []string {
	return existing("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/kmsg")
}

func maskedKernelDirectories() []string {
	return existing("/proc/acpi", "/proc/scsi", "/sys/firmware")
}

// keptCapabilities are those of the default profile.
func keptCapabilities() []string {
	return []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"}
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
// tree, read-only, a bind mount made at setup. That and a cgroup tree of version
// 2 alone (crun of Debian 12 refuses a hybrid one, and runc would fill all of its
// hierarchies) are in a mount namespace of its own, which the others do not see.
type bundle struct {
	runtime string
	command
	thread *thread
	serial int
}

const (
	crunName = "crun run, same namespaces and mounts"
	runcName = "runc run, same namespaces and mounts"
)

func (b *bundle) name() string { return b.runtime + " run, same namespaces and mounts" }

func (b *bundle) setup(l *lab, program string) error {
	path, err := exec.LookPath(b.runtime)
	if err != nil {
		return err
	}
	dir, err := l.sub(b.runtime)
	if err != nil {
		return err
	}
	state, err := l.runtimeDir(b.runtime)
	if err != nil {
		return err
	}
	root := filepath.Join(dir, "rootfs")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	config, err := json.Marshal(ociConfig(program, ""))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644); err != nil {
		return err
	}
	b.path = path
	b.args = []string{b.runtime, "--root", state, "run", "--bundle", dir, ""}
	if b.out, err = newStampReader(); err != nil {
		return err
	}
	b.thread, err = newThread(unix.CLONE_NEWNS, func() error {
		if err := unix.Mount("/", root, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot bind / on %s: %w", root, err)
		}
		return coverCgroups()
	})
	return err
}

func (b *bundle) start(ctx context.Context) (requested, first int64, err error) {
	b.serial++
	b.args[len(b.args)-1] = fmt.Sprintf("nsbench-%d-%d", os.Getpid(), b.serial)
	b.thread.do(func() { requested, first, err = b.command.start(ctx) })
	return requested, first, err
}

func (b *bundle) close() error {
	if b.thread != nil {
		b.thread.end()
	}
	return b.command.close()
}

const cgroupRoot = "/sys/fs/cgroup"

// coverCgroups mounts cgroup v2 over a hierarchy of another kind.
func coverCgroups() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
		return nil
	}
	if err := unix.Mount("cgroup2", cgroupRoot, "cgroup2", 0, ""); err != nil {
		return fmt.Errorf("cannot mount cgroup2 on %s: %w", cgroupRoot, err)
	}
	return nil
}

type object = map[string]any

// ociConfig is the config.json (OCI runtime specification 1.0) of a bundle with
// the namespaces, mounts and capabilities of nsinit's default profile. The network
// namespace is the one pinned at netns, or a new one where that is "".
func ociConfig(program, netns string) object {
	capabilities := keptCapabilities()
	mounts := []object{
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		{"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": []string{"nosuid", "noexec", "nodev", "mode=1777"}},
		{"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": []string{"nosuid", "noexec", "nodev"}},
		{"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": []string{"nosuid", "noexec", "nodev", "ro"}},
		{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": []string{"nosuid", "noexec", "nodev", "ro"}},
	}
	for _, dir := range hiddenDirectories() {
		mounts = append(mounts, object{"destination": dir, "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "nodev"}})
	}
	mounts = append(mounts, object{"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": []string{"bind", "ro"}})
	var namespaces []object
	for _, kind := range []string{"pid", "network", "ipc", "uts", "mount", "cgroup"} {
		namespaces = append(namespaces, object{"type": kind})
		if kind == "network" && netns != "" {
			namespaces[len(namespaces)-1]["path"] = netns
		}
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
			"maskedPaths":   append(maskedKernelFiles(), maskedKernelDirectories()...),
		},
	}
}
