package condition

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// secureBoot is the EFI variable of UEFI 2.10, section 3.3, as efivarfs shows
// it: four bytes of attributes, then one byte of value.
const secureBoot = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// security looks whether a security module or a feature of the firmware is in
// force, by the files that the kernel shows only then.
func security(h Host, value string) (bool, string, error) {
	on, err := h.securityFeature(value)
	if err != nil {
		return false, "", err
	}
	if on {
		return true, value + " is in force", nil
	}
	return false, value + " is not in force", nil
}

func (h Host) securityFeature(name string) (bool, error) {
	switch name {
	case "selinux":
		return h.present("/sys/fs/selinux/enforce")
	case "smack":
		return h.present("/sys/fs/smackfs")
	case "tomoyo":
		return h.present("/sys/kernel/security/tomoyo/version")
	case "ima":
		return h.present("/sys/kernel/security/ima")
	case "apparmor":
		enabled, err := h.read("/sys/module/apparmor/parameters/enabled")
		return enabled == "Y", err
	case "audit":
		return auditEnabled()
	case "uefi-secureboot":
		data, err := os.ReadFile(h.path(secureBoot))
		if missing(err) {
			return false, nil
		}
		return len(data) == 5 && data[4] == 1, err
	case "tpm2":
		found, err := filepath.Glob(h.path("/sys/class/tpmrm/*"))
		return len(found) > 0, err
	}
	return false, fmt.Errorf("unknown %q; one of selinux, apparmor, tomoyo, smack, ima, audit, uefi-secureboot, tpm2", name)
}

func (h Host) present(p string) (bool, error) {
	info, err := h.stat(p)
	return info != nil, err
}

// auditEnabled reports whether the kernel has auditing: only then can its
// netlink socket be made (netlink(7)).
func auditEnabled() (bool, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_AUDIT)
	switch err {
	case nil:
		return true, unix.Close(fd)
	case unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.EPERM:
		return false, nil
	}
	return false, fmt.Errorf("socket(NETLINK_AUDIT): %w", err)
}

// acPower compares with whether the machine runs on mains: a supply is online,
// or nothing says that a battery feeds it. Batteries of devices, such as a
// mouse's, do not count.
func acPower(h Host, value string) (bool, string, error) {
	want, err := parseBool(value)
	if err != nil {
		return false, "", err
	}
	supplies, err := filepath.Glob(h.path("/sys/class/power_supply/*"))
	if err != nil {
		return false, "", err
	}
	var mains, online, batteries, discharging int
	for _, dir := range supplies {
		switch kind := readAttribute(dir, "type"); {
		case kind == "Battery" && readAttribute(dir, "scope") != "Device":
			batteries++
			if readAttribute(dir, "status") == "Discharging" {
				discharging++
			}
		case kind == "Mains" || kind == "USB":
			mains++
			if readAttribute(dir, "online") == "1" {
				online++
			}
		}
	}
	if online == 0 && (discharging > 0 || mains > 0 && batteries > 0) {
		return !want, "the machine runs on battery", nil
	}
	return want, "the machine runs on mains", nil
}

// readAttribute returns a file of sysfs without its line break, "" if it
// cannot be read: supplies come and go.
func readAttribute(dir, name string) string {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
