package boot

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// What a manager left undone that was killed meanwhile is done by the next; what
// is done is not done again, and what kills every manager is left out.
func TestOnce(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "marker")
	calls := 0
	killed := func() []error { calls++; panic("killed") }
	for range attempts + 1 {
		func() {
			defer func() { recover() }()
			once(marker, killed)
		}()
	}
	if calls != attempts {
		t.Errorf("begun %d times; want %d", calls, attempts)
	}
	if problems := once(marker, killed); len(problems) != 1 {
		t.Errorf("nothing is said of it: %v", problems)
	}
	os.Remove(marker)
	func() {
		defer func() { recover() }()
		once(marker, killed)
	}()
	calls = 0
	ends := func() []error { calls++; return []error{errors.New("one")} }
	if problems := once(marker, ends); calls != 1 || len(problems) != 1 {
		t.Errorf("after one that was killed: called %d times, %v", calls, problems)
	}
	if problems := once(marker, ends); calls != 1 || len(problems) != 0 {
		t.Errorf("done already: called %d times, %v", calls, problems)
	}
}
