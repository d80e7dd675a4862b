package compile

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Reader gathers facts for many starts. It keeps the accounts and names of the
// host for as long as their files are the same: reading and parsing them is the
// larger part of what Gather does, and 500 services share one copy. The zero
// value is ready, and safe for concurrent use.
type Reader struct {
	mu    sync.Mutex
	stamp [2]fileStamp
	last  Accounts

	hostsStamp fileStamp
	lastHosts  string
}

// fileStamp tells one content of a file from another, as make(1) does, and by
// the inode, since files of accounts are replaced as a whole.
type fileStamp struct {
	dev, ino    uint64
	size        int64
	mtime, ctim unix.Timespec
}

// accounts is ReadAccounts, remembered for the host's root. Another root may
// belong to somebody who changes it while it is looked at: that is read anew.
func (r *Reader) accounts(root string) (Accounts, error) {
	if root != "/" {
		return ReadAccounts(root)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := [2]fileStamp{stampOf("/etc/passwd"), stampOf("/etc/group")}
	if now == r.stamp && r.last.Users != nil {
		return r.last, nil
	}
	a, err := ReadAccounts(root)
	if err == nil {
		r.stamp, r.last = now, a // the stamps are older: a change in between is seen next time
	}
	return a, err
}

// hosts reads /etc/hosts of root, remembered as accounts are.
func (r *Reader) hosts(root string) (string, error) {
	if root != "/" {
		b, err := readInRoot(root, "etc/hosts")
		return string(b), err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := stampOf("/etc/hosts")
	if now == r.hostsStamp && now != (fileStamp{}) {
		return r.lastHosts, nil
	}
	b, err := readInRoot(root, "etc/hosts")
	if err == nil {
		r.hostsStamp, r.lastHosts = now, string(b)
	}
	return string(b), err
}

func stampOf(path string) fileStamp {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return fileStamp{}
	}
	return fileStamp{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}
}
