package unit

import (
	"fmt"
	"testing"
)

// BenchmarkLoadSet loads 500 services, as a manager does at its start.
func BenchmarkLoadSet(b *testing.B) {
	files := map[string]string{}
	for i := range 500 {
		files[fmt.Sprintf("etc/s%d.toml", i)] = simple + "[install]\nwanted_by = 'default'\n"
	}
	root := tree(b, files)
	b.ReportAllocs()
	for b.Loop() {
		if s := loadTree(root); len(s.Names()) < 500 {
			b.Fatal(len(s.Names()))
		}
	}
}
