package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Modules are the kernel modules that have what the rules are made of (Linux 6.1).
var Modules = []string{"nf_tables", "nft_ct", "nft_chain_nat", "nft_nat", "nft_masq", "nft_fib_inet"}

// Table is the table of an instance. It is used by one goroutine at a time.
type Table struct {
	name   string
	conn   *nftables.Conn
	sets   map[string]*nftables.Set
	chains []filled
	layout string // the name of the set that says that sets and chains are these

	bridges  []Bridge
	services map[string]*Service
	have     map[string][]element // of services, as the kernel has them
	unsure   bool                 // whether it has them
}

// Open finds what an earlier process of the instance has left; the first change
// compares it. The error wraps ErrUnavailable where the kernel has no nftables
// for this process, and names a table of that name which is somebody else's.
func Open(instance string) (*Table, error) {
	name := "nsinit"
	if instance != name {
		name += "-" + instance
	}
	conn, err := connect()
	if err != nil {
		return nil, unavailable(err)
	}
	t := &Table{name: name, conn: conn, services: map[string]*Service{}, unsure: true}
	t.sets, t.chains = makeSets(t.table()), makeChains(t.table())
	t.layout = layout(t.sets, t.chains)
	t.sets[t.layout] = &nftables.Set{Table: t.table(), Name: t.layout, KeyType: ifaceType}
	if _, err := t.own(); err != nil {
		conn.CloseLasting()
		return nil, err
	}
	return t, nil
}

// table describes it.
func (t *Table) table() *nftables.Table {
	return &nftables.Table{Name: t.name, Family: nftables.TableFamilyINet}
}

// unavailable says why, and what to do.
func unavailable(err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.EPERM):
		hint = " (this needs CAP_NET_ADMIN)"
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EINVAL):
		hint = " (modprobe nf_tables, or a kernel with CONFIG_NF_TABLES and NF_TABLES_INET)"
	case errors.Is(err, unix.ENOENT):
		hint = " (a kernel module may be missing; needed are " + strings.Join(Modules, ", ") + "; process 1 loads those that /etc/nsinit/modules lists)"
	}
	return fmt.Errorf("%w: %w%s", ErrUnavailable, err, hint)
}

// Sync brings the kernel to exactly this, in one transaction: no packet sees
// anything between. What is right already is not touched, and counts on.
func (t *Table) Sync(bridges []Bridge, services []Service) error {
	t.bridges, t.services = slices.Clone(bridges), map[string]*Service{}
	for _, s := range services {
		t.services[s.Unit] = &s
	}
	return t.sync()
}

func (t *Table) wanted(unit string) []element {
	s := t.services[unit]
	if s == nil {
		return nil
	}
	return s.elements(t.addressesOf, t.poolsOf)
}

func (t *Table) addressesOf(unit string) []netip.Addr {
	if s := t.services[unit]; s != nil {
		return s.addresses()
	}
	return nil
}

func (t *Table) poolsOf(bridge string) []netip.Prefix {
	for _, b := range t.bridges {
		if b.Name == bridge {
			return b.Pools
		}
	}
	return nil
}

// Put adds services, or changes them, in one transaction.
func (t *Table) Put(services ...Service) error {
	var names []string
	was := maps.Clone(t.services)
	for _, s := range services {
		t.services[s.Unit] = &s
		names = append(names, s.Unit)
	}
	if err := t.change(names); err != nil {
		t.services = was
		return err
	}
	return nil
}

// Delete forgets services, in one transaction.
func (t *Table) Delete(units ...string) error {
	was := maps.Clone(t.services)
	for _, u := range units {
		delete(t.services, u)
	}
	if err := t.change(units); err != nil {
		t.services = was
		return err
	}
	return nil
}

// change brings the elements of the named units to what they should be, and those
// of others whose rules name them.
func (t *Table) change(names []string) error {
	if t.unsure {
		return t.sync()
	}
	touched := map[string]bool{}
	for _, n := range names {
		touched[n] = true
	}
	for name, s := range t.services {
		if s.mentions(touched) {
			touched[name] = true
		}
	}
	var gone, added []element
	next := map[string][]element{}
	for name := range touched {
		next[name] = t.wanted(name)
		added = append(added, without(next[name], t.have[name])...)
		gone = append(gone, without(t.have[name], next[name])...)
	}
	if err := errors.Join(t.remove(gone), t.add(added)); err != nil {
		return err
	}
	if err := t.flush("change"); errors.Is(err, fs.ErrNotExist) {
		return t.sync() // somebody has taken away what we knew to be there
	} else if err != nil {
		return err
	}
	for name, list := range next {
		if t.have[name] = list; list == nil {
			delete(t.have, name)
		}
	}
	return nil
}

// mentions reports whether a rule of s names one of the units.
func (s *Service) mentions(units map[string]bool) bool {
	names := func(p Peer) bool { return p.Kind == PeerUnit && units[p.Name] }
	return slices.ContainsFunc(s.From, names) || slices.ContainsFunc(s.To, names)
}

// without gives what of a is not in b.
func without(a, b []element) (out []element) {
	in := map[element]bool{}
	for _, e := range b {
		in[e] = true
	}
	for _, e := range a {
		if !in[e] {
			out = append(out, e)
		}
	}
	return out
}

// chunk is how many elements one message has: its list is an attribute, whose
// length is a number of 16 bits.
const chunk = 256

func (t *Table) add(all []element) error { return t.each(all, t.conn.SetAddElements) }

func (t *Table) remove(all []element) error { return t.each(all, t.conn.SetDeleteElements) }

func (t *Table) each(all []element, do func(*nftables.Set, []nftables.SetElement) error) error {
	bySet := map[string][]nftables.SetElement{}
	seen := map[element]bool{}
	for _, e := range all {
		if seen[e] {
			continue
		}
		seen[e] = true
		bySet[e.set] = append(bySet[e.set], e.kernel())
	}
	for _, name := range slices.Sorted(maps.Keys(bySet)) {
		for part := range slices.Chunk(bySet[name], chunk) {
			if err := do(t.sets[name], part); err != nil {
				return fmt.Errorf("cannot write elements of %s: %w", name, err)
			}
		}
	}
	return nil
}

// Missing reports whether the table was taken away behind our back.
func (t *Table) Missing() (bool, error) {
	there, err := t.own()
	return !there, err
}

// Close ends the use of the table; with removeAll it goes.
func (t *Table) Close(removeAll bool) error {
	var err error
	if removeAll {
		err = t.delete()
	}
	return errors.Join(err, t.conn.CloseLasting())
}

func (t *Table) delete() error {
	there, err := t.own()
	if err != nil {
		return err
	}
	if there {
		t.conn.DelTable(t.table())
	}
	return t.flush("remove")
}

func nativeIndex(key []byte) uint32 { return binary.NativeEndian.Uint32(key) }
