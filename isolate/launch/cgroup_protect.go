package launch

import (
	"path/filepath"
	"slices"
)

// protected are the files whose value holds only as far as the parents' does.
var protected = [...]string{"memory.min", "memory.low"}

// protect gives the slice and the instance what their children ask to have
// protected, summed: a child's memory.min is worth no more than its share of
// its parent's (cgroup-v2.rst). What is above the instance is not ours. mu is
// held.
func (g *Generation) protect() error {
	dirs := []string{g.cgroups.abs(g.cgroups.root)}
	if parents := g.parents(); len(parents) > 1 {
		dirs = []string{parents[0], dirs[0]}
	}
	for _, dir := range dirs {
		for _, file := range protected {
			path := filepath.Join(dir, file)
			sum, err := sumOfChildren(dir, file)
			if err != nil {
				return err
			}
			if exists(path) && readMax(path) != sum {
				if err := writeFile(dir, file, formatMax(sum)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func sumOfChildren(dir, file string) (sum uint64, err error) {
	names, err := subdirs(dir)
	for _, name := range names {
		n := readMax(filepath.Join(dir, name, file))
		if sum+n < sum {
			return Unlimited, nil
		}
		sum += n
	}
	return sum, err
}

// protects says whether anything in the instance asks for protection.
func (c *Cgroups) protects() bool {
	if !slices.Contains(c.enabled, "memory") {
		return false
	}
	for _, file := range protected {
		if readMax(filepath.Join(c.abs(c.root), file)) != 0 {
			return true
		}
	}
	return false
}
