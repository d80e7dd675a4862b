package unit

import (
	"fmt"
	"strconv"
)

// ParseMode reads an access mode or umask in octal: "0755", "2775".
func ParseMode(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return 0, fmt.Errorf("mode %q: write octal digits, such as \"0755\"", s)
	}
	if n > 0o7777 {
		return 0, fmt.Errorf("mode %q is more than 7777", s)
	}
	return uint32(n), nil
}
