package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Table is the table of an instance. It is used by one goroutine at a time.
type Table struct {
	name string
	conn *nftables.Conn
	sets map[string]*nftables.Set

	bridges  []Bridge
	services map[string]*Service
	base     []element            // of the bridges
	have     map[string][]element // of services, as the kernel has them
}

// Open finds what an earlier process of the instance has left; the first Sync
// replaces it. The error wraps ErrUnavailable where the kernel has no nftables
// for this process, and names a table of that name which is somebody else's.
func Open(instance string) (*Table, error) {
	name := "nsinit"
	if instance != name {
		name += "-" + instance
	}
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(roomy))
	if err != nil {
		return nil, unavailable(err)
	}
	t := &Table{name: name, conn: conn, services: map[string]*Service{}, have: map[string][]element{}}
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

// mark is a set that only a table of ours has.
const mark = setInner + "4"

// own reports whether the table is there, and is ours.
func (t *Table) own() (bool, error) {
	all, err := t.conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, unavailable(err)
	}
	if !slices.ContainsFunc(all, func(o *nftables.Table) bool { return o.Name == t.name }) {
		return false, nil
	}
	_, err = t.conn.GetSetByName(t.table(), mark)
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("cannot use the nftables table %s: there is one of that name which is not this instance's (nft list table inet %s)", t.name, t.name)
	}
	if err != nil {
		return false, fmt.Errorf("cannot read the nftables table %s: %w", t.name, err)
	}
	return true, nil
}

// unavailable says why, and what to do.
func unavailable(err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.EPERM):
		hint = " (this needs CAP_NET_ADMIN)"
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EINVAL):
		hint = " (modprobe nf_tables, or a kernel with CONFIG_NF_TABLES and NF_TABLES_INET)"
	}
	return fmt.Errorf("%w: %w%s", ErrUnavailable, err, hint)
}

// Sync brings the kernel to exactly this, in one transaction: no packet sees
// anything between. Counters of refused packets begin anew.
func (t *Table) Sync(bridges []Bridge, services []Service) error {
	t.bridges, t.services = slices.Clone(bridges), map[string]*Service{}
	for _, s := range services {
		t.services[s.Unit] = &s
	}
	return t.renew()
}

// renew writes everything anew.
func (t *Table) renew() error {
	there, err := t.own()
	if err != nil {
		return err
	}
	if there {
		t.conn.DelTable(t.table())
	}
	c := chains{t.conn, t.conn.AddTable(t.table())}
	t.sets = makeSets(c.table)
	for _, name := range slices.Sorted(maps.Keys(t.sets)) {
		if err := t.conn.AddSet(t.sets[name], nil); err != nil {
			return err
		}
	}
	c.make()
	t.base = bridgeElements(t.bridges)
	all := slices.Clone(t.base)
	t.have = map[string][]element{}
	for name := range t.services {
		t.have[name] = t.wanted(name)
		all = append(all, t.have[name]...)
	}
	if err := t.add(all); err != nil {
		return err
	}
	if err := t.conn.Flush(); err != nil {
		return t.refused("make", err)
	}
	return nil
}

func (t *Table) refused(verb string, err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("cannot %s the nftables table %s: %w", verb, t.name, unavailable(err))
	}
	return fmt.Errorf("cannot %s the nftables table %s: %w", verb, t.name, err)
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
	if err := t.conn.Flush(); err != nil {
		return t.refused("change", err)
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

// Counters are packets that were refused since the table was made.
type Counters struct {
	Spoofed map[uint32]uint64                    // by index of the host's end of the link
	Refused map[netip.Addr]map[netip.Addr]uint64 // by who was called, and who called
}

// Counters reads them.
func (t *Table) Counters() (Counters, error) {
	c := Counters{Spoofed: map[uint32]uint64{}, Refused: map[netip.Addr]map[netip.Addr]uint64{}}
	list, err := t.conn.GetSetElements(t.sets[setSpoofed])
	if err != nil {
		return c, fmt.Errorf("cannot read the nftables table %s: %w", t.name, err)
	}
	for _, e := range list {
		if e.Counter != nil && len(e.Key) == 4 {
			c.Spoofed[nativeIndex(e.Key)] += e.Counter.Packets
		}
	}
	for _, f := range families {
		list, err := t.conn.GetSetElements(t.sets[setRefused+f.suffix])
		if err != nil {
			return c, fmt.Errorf("cannot read the nftables table %s: %w", t.name, err)
		}
		for _, e := range list {
			n := int(4 * f.width)
			if e.Counter == nil || len(e.Key) < 2*n {
				continue
			}
			to, _ := netip.AddrFromSlice(e.Key[:n])
			from, _ := netip.AddrFromSlice(e.Key[n : 2*n])
			if c.Refused[to] == nil {
				c.Refused[to] = map[netip.Addr]uint64{}
			}
			c.Refused[to][from] += e.Counter.Packets
		}
	}
	return c, nil
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
	if err := t.conn.Flush(); err != nil {
		return t.refused("remove", err)
	}
	return nil
}

func nativeIndex(key []byte) uint32 { return binary.NativeEndian.Uint32(key) }

// roomy lets a transaction of thousands of services through in one piece.
func roomy(c *netlink.Conn) error {
	return errors.Join(c.SetWriteBuffer(8<<20), c.SetReadBuffer(8<<20))
}
