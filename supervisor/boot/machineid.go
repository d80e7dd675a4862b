package boot

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// machineID sees to it that the machine has an ID (machine-id(5)): in
// /etc/machine-id for good, or, where that cannot be written, for this boot, in
// /run and bound over it.
func machineID(root string) error {
	path := filepath.Join(root, "etc/machine-id")
	b, err := os.ReadFile(path)
	if err == nil && validID(strings.TrimSpace(string(b))) {
		return nil
	}
	id, idErr := newID()
	if idErr != nil {
		return fmt.Errorf("cannot make a machine ID: %w", idErr)
	}
	if err = replaceFile(path, []byte(id+"\n"), 0o444); err == nil {
		return os.Chmod(path, 0o444)
	}
	if !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("cannot keep the machine ID: %w", err)
	}
	volatile := filepath.Join(root, "run/machine-id")
	if err := os.WriteFile(volatile, []byte(id+"\n"), 0o444); err != nil {
		return fmt.Errorf("cannot keep the machine ID: %w", err)
	}
	if err := unix.Mount(volatile, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot give the machine an ID: mount over %s (an empty file there would do): %w", path, err)
	}
	return nil
}

// validID tells an ID from "", "uninitialized" and damage.
func validID(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) == 16 && id == strings.ToLower(id) && strings.Trim(id, "0") != ""
}

// newID is a version 4 UUID (RFC 9562) without dashes.
func newID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return hex.EncodeToString(b[:]), nil
}
