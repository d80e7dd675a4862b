package pid1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// newRoot is where the root file system is mounted while the initramfs is "/".
const newRoot = "/sysroot"

// inInitramfs tells whether "/" is the kernel's first file system, which is in
// memory and of no use once there is another root.
func inInitramfs() bool {
	var st unix.Statfs_t
	return unix.Statfs("/", &st) == nil && (st.Type == unix.RAMFS_MAGIC || st.Type == unix.TMPFS_MAGIC)
}

// switchRoot makes the root file system of the command line "/", frees the
// initramfs and executes the init there. Where it cannot, the machine stays in
// the initramfs with a rescue shell, and tries again when that ends.
func (p *pid1) switchRoot() {
	for {
		err := p.tryRoot()
		if p.asked != stay {
			return
		}
		p.say.warn("cannot switch to root=%s: %v", p.cmd.root, err)
		p.say.warn("tried types %v, options %q, read-write %v; there are the disks %s", p.types(), p.cmd.rootFlags, p.cmd.rootWrite, disks())
		if p.cmd.onFailure != stay {
			p.asked = p.cmd.onFailure
			return
		}
		p.rescue("the root is tried again")
		for p.shell != 0 && p.asked == stay {
			p.wait(p.reap())
		}
		if p.asked != stay {
			return
		}
		p.sleep(time.Second) // no shell, or one that ends at once
	}
}

// tryRoot returns only if it failed.
func (p *pid1) tryRoot() error {
	device, err := p.rootDevice()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return err
	}
	if !isMount(newRoot) {
		if err := p.mountRoot(device); err != nil {
			return err
		}
		if p.cmd.overlay {
			if err := mountOverlay(); err != nil {
				unix.Unmount(newRoot, unix.MNT_DETACH)
				return fmt.Errorf("cannot mount the overlay: %w (is overlay.ko listed in %s?)", err, modulesList)
			}
		}
	}
	init, err := findInit(newRoot, p.cmd.init)
	if err != nil {
		for unix.Unmount(newRoot, unix.MNT_DETACH) == nil { // an overlay and what is below it
		}
		return err
	}
	if err := enterRoot(&p.say); err != nil {
		return err
	}
	// The kernel's words for process 1, and its environment, go on to the next.
	os.Setenv(beganVariable, p.began.String())
	err = syscall.Exec(init, append([]string{init}, os.Args[1:]...), os.Environ())
	return fmt.Errorf("cannot execute %s: %w", init, err)
}

// rootDevice waits for the device to appear.
func (p *pid1) rootDevice() (string, error) {
	for deadline := time.Now().Add(p.cmd.rootWait); ; {
		device, err := findDevice(p.cmd.root)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return device, err
		}
		if !time.Now().Before(deadline) {
			return "", fmt.Errorf("no such disk has appeared in %v", p.cmd.rootWait)
		}
		p.reap()
		p.sleep(20 * time.Millisecond) // drivers have no descriptor to wait at
		if p.asked != stay {           // ctrl-alt-del, where no disk will ever come
			return "", fmt.Errorf("waiting for the disk was ended: %v", p.asked)
		}
	}
}

// findDevice gives the device node that a root= names: a path, MAJOR:MINOR,
// PARTUUID=, PARTLABEL=, and UUID= and LABEL= of ext2 to ext4.
func findDevice(root string) (string, error) {
	key, value, has := strings.Cut(root, "=")
	switch {
	case strings.HasPrefix(root, "/"):
		_, err := os.Stat(root)
		return root, err
	case has && (key == "PARTUUID" || key == "PARTLABEL"):
		field := strings.Replace(key, "PARTLABEL", "PARTNAME", 1)
		return findBlock(func(uevent, _ string) bool {
			return slices.ContainsFunc(strings.Split(uevent, "\n"), func(l string) bool { return strings.EqualFold(l, field+"="+value) })
		})
	case has && (key == "UUID" || key == "LABEL"):
		return findBlock(func(_, device string) bool {
			uuid, label := extNames(device)
			return key == "UUID" && strings.EqualFold(uuid, value) || key == "LABEL" && label != "" && label == value
		})
	case !has && strings.Count(root, ":") == 1:
		major, minor, _ := strings.Cut(root, ":")
		return findBlock(func(uevent, _ string) bool { return strings.Contains(uevent, "MAJOR="+major+"\nMINOR="+minor+"\n") })
	}
	return "", errors.New("not understood: /dev/NAME, MAJOR:MINOR, PARTUUID=, PARTLABEL=, UUID= and LABEL= (both of ext4) are")
}

// findBlock gives the first block device that is meant.
func findBlock(meant func(uevent, device string) bool) (string, error) {
	names, _ := os.ReadDir("/sys/class/block")
	for _, n := range names {
		uevent, err := os.ReadFile("/sys/class/block/" + n.Name() + "/uevent")
		device := "/dev/" + strings.ReplaceAll(n.Name(), "!", "/")
		if err == nil && meant(string(uevent), device) {
			return device, nil
		}
	}
	return "", os.ErrNotExist
}

// extNames reads UUID and label of the superblock of an ext2 to ext4 file system
// (Documentation/filesystems/ext4/super.rst); both are empty for others.
func extNames(device string) (uuid, label string) {
	f, err := os.Open(device)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	sb := make([]byte, 256)
	if _, err := f.ReadAt(sb, 1024); err != nil || binary.LittleEndian.Uint16(sb[0x38:]) != 0xef53 {
		return "", ""
	}
	u := sb[0x68:0x78]
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]), unix.ByteSliceToString(sb[0x78:0x88])
}

// types are the file systems to try.
func (p *pid1) types() []string {
	if len(p.cmd.rootTypes) > 0 {
		return p.cmd.rootTypes
	}
	b, _ := os.ReadFile("/proc/filesystems")
	var types []string
	for line := range strings.Lines(string(b)) {
		if nodev, name, ok := strings.Cut(strings.TrimSpace(line), "\t"); !ok && nodev != "" {
			types = append(types, nodev)
		} else if ok && nodev == "" {
			types = append(types, name)
		}
	}
	return types
}

// mountRoot mounts the device with the first type that takes it.
func (p *pid1) mountRoot(device string) error {
	flags, data := mountOptions(p.cmd.rootFlags)
	if !p.cmd.rootWrite {
		flags |= unix.MS_RDONLY
	}
	types := p.types()
	if len(types) > 1 {
		flags |= unix.MS_SILENT // that it is none of the others is no news
	}
	var errs []string
	for _, fstype := range types {
		err := unix.Mount(device, newRoot, fstype, flags, data)
		if err == unix.EACCES || err == unix.EROFS { // the disk or the file system is for reading only
			err = unix.Mount(device, newRoot, fstype, flags|unix.MS_RDONLY, data)
		}
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Sprintf("%s: %v", fstype, err))
	}
	if len(errs) == 0 {
		return fmt.Errorf("cannot mount %s: the kernel knows no file system for disks (is its module listed in %s?)", device, modulesList)
	}
	return fmt.Errorf("cannot mount %s: %s", device, strings.Join(errs, "; "))
}

// mountOverlay has what is written to the new root go to memory (overlayfs).
func mountOverlay() error {
	const layer = "/overlay"
	if err := (apiMount{layer, "tmpfs", 0, "mode=0755"}).mount(); err != nil {
		return err
	}
	defer unix.Unmount(layer, unix.MNT_DETACH) // the overlay holds what it needs
	for _, dir := range []string{layer + "/upper", layer + "/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return unix.Mount("overlay", newRoot, "overlay", 0, "lowerdir="+newRoot+",upperdir="+layer+"/upper,workdir="+layer+"/work")
}

// mountOptions takes the options that are flags of mount(2) out of a list.
func mountOptions(options string) (flags uintptr, data string) {
	known := map[string]uintptr{"nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC, "sync": unix.MS_SYNCHRONOUS,
		"dirsync": unix.MS_DIRSYNC, "noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
		"strictatime": unix.MS_STRICTATIME, "lazytime": unix.MS_LAZYTIME, "ro": unix.MS_RDONLY, "rw": 0, "defaults": 0}
	var rest []string
	for _, o := range strings.Split(options, ",") {
		if flag, ok := known[o]; ok {
			flags |= flag
		} else if o != "" {
			rest = append(rest, o)
		}
	}
	return flags, strings.Join(rest, ",")
}

// findInit looks for what is to be process 1 below root, whose links it reads
// as its own.
func findInit(root, asked string) (string, error) {
	tried := []string{"/usr/sbin/nsinit", "/sbin/nsinit", "/sbin/init", "/init"}
	if asked != "" {
		tried = []string{asked}
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	for _, path := range tried {
		fd, err := unix.Openat2(dir, strings.TrimPrefix(path, "/"), &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		if err != nil {
			continue
		}
		err = unix.Access("/proc/self/fd/"+strconv.Itoa(fd), unix.X_OK)
		unix.Close(fd)
		if err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no program to execute there: tried %s", strings.Join(tried, ", "))
}

// enterRoot takes the API file systems along, removes the files of the initramfs,
// which frees its memory, and makes newRoot the root.
func enterRoot(say *reporter) error {
	for _, m := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := unix.Mount(m, newRoot+m, "", unix.MS_MOVE, ""); err != nil {
			say.warn("cannot move %s to the new root: %v; it is mounted anew there", m, err)
			unix.Unmount(m, unix.MNT_DETACH)
		}
	}
	old, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("cannot move %s to /: %w", newRoot, err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("cannot change the root: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(old, &st); err != nil {
		return err
	}
	removeBelow(old, st.Dev)
	return os.Chdir("/")
}

// removeBelow removes what is in a directory, not leaving its file system, and
// closes it.
func removeBelow(dir int, dev uint64) {
	f := os.NewFile(uintptr(dir), "initramfs")
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, name := range names {
		if unix.Unlinkat(dir, name, 0) != unix.EISDIR {
			continue
		}
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Dev != dev {
			unix.Close(fd)
			continue
		}
		removeBelow(fd, dev)
		unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
}

// disks lists the block devices, for whoever has to repair a root=.
func disks() string {
	names, _ := os.ReadDir("/sys/class/block")
	var all []string
	for _, n := range names {
		all = append(all, n.Name())
	}
	if len(all) == 0 {
		return "none (is the driver's module listed in " + modulesList + "?)"
	}
	return strings.Join(all, " ")
}
