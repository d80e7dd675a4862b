package machine

import (
	"fmt"
	"strings"
)

// eventName is the type's own name, for bug reports.
func eventName(ev Event) string {
	_, name, _ := strings.Cut(fmt.Sprintf("%T", ev), ".")
	return name
}
