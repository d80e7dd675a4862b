package systemd

import (
	"io/fs"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// ownerOf names the owner and group of a file by the tables below root.
func ownerOf(root string, info fs.FileInfo) (user, group string) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "root", "root"
	}
	return nameOf(root+"/etc/passwd", stat.Uid), nameOf(root+"/etc/group", stat.Gid)
}

func nameOf(table string, id uint32) string {
	data, _ := os.ReadFile(table)
	number := strconv.FormatUint(uint64(id), 10)
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == number {
			return f[0]
		}
	}
	return number
}

func userExists(root, name string) bool {
	data, _ := os.ReadFile(root + "/etc/passwd")
	return strings.HasPrefix(string(data), name+":") || strings.Contains(string(data), "\n"+name+":") || strings.Trim(name, "0123456789") == "" || strings.Contains(name, "%")
}

func sortedNames(set map[string]bool) []string {
	var out []string
	for n := range set {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}
