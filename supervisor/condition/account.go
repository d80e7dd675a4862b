package condition

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// lastSystemID is SYS_UID_MAX of Debian: ids above are people's.
const lastSystemID = 999

// user compares the user that nsinit runs as: an id, a name, or "@system".
func user(h Host, value string) (bool, string, error) {
	reason := fmt.Sprintf("nsinit runs as user %d", h.UID)
	if value == "@system" {
		return h.UID <= lastSystemID, reason, nil
	}
	id, err := h.lookup("/etc/passwd", value)
	return err == nil && id == h.UID, reason, err
}

// group looks among the groups that nsinit runs with.
func group(h Host, value string) (bool, string, error) {
	reason := fmt.Sprintf("nsinit runs with the groups %v", h.Groups)
	if value == "@system" {
		system := func(id int) bool { return id <= lastSystemID }
		return slices.ContainsFunc(h.Groups, system), reason, nil
	}
	id, err := h.lookup("/etc/group", value)
	return err == nil && slices.Contains(h.Groups, id), reason, err
}

// lookup returns the id of a name in /etc/passwd or /etc/group, which have it
// in the third field both. A number is itself. An unknown name is an error,
// because no id can be compared then.
func (h Host) lookup(file, name string) (int, error) {
	if id, err := strconv.ParseUint(name, 10, 32); err == nil {
		return int(id), nil
	}
	data, err := os.ReadFile(h.path(file))
	if err != nil {
		return -1, err
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) >= 3 && fields[0] == name {
			return strconv.Atoi(fields[2])
		}
	}
	return -1, fmt.Errorf("%q is not in %s", name, file)
}
