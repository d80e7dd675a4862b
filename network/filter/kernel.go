package filter

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// connect opens the socket that everything goes by.
func connect() (*nftables.Conn, error) {
	return nftables.New(nftables.AsLasting(), nftables.WithSockOptions(roomy))
}

// roomy lets a transaction of thousands of services through in one piece.
func roomy(c *netlink.Conn) error {
	return errors.Join(c.SetWriteBuffer(8<<20), c.SetReadBuffer(8<<20))
}

// mark is a set that only a table of ours has.
const mark = setInner + "4"

// own reports whether the table is there, and is ours. It asks for the one table
// and the one set: a list of all may lack one while somebody else changes his
// (NLM_F_DUMP_INTR, which the library does not look at).
func (t *Table) own() (bool, error) {
	_, err := t.conn.ListTableOfFamily(t.name, nftables.TableFamilyINet)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, unavailable(err)
	}
	there, err := t.hasSet(mark)
	if err == nil && !there {
		err = fmt.Errorf("cannot use the nftables table %s: there is one of that name which is not this instance's (nft list table inet %s)", t.name, t.name)
	}
	return there, err
}

func (t *Table) hasSet(name string) (bool, error) {
	_, err := t.conn.GetSetByName(t.table(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read the nftables table %s: %w", t.name, err)
	}
	return true, nil
}

// layout names a set that stands for what cannot be changed where it is: the keys
// of sets, and the hooks of chains. A table of another nsinit may have another.
func layout(sets map[string]*nftables.Set, chains []filled) string {
	h := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		s := sets[name]
		fmt.Fprintln(h, name, s.KeyType.Name, s.DataType.Name, s.Interval, s.Counter, s.Size, s.Timeout)
	}
	for _, c := range chains {
		fmt.Fprint(h, c.chain.Name, c.chain.Type)
		if c.chain.Hooknum != nil {
			fmt.Fprint(h, *c.chain.Hooknum, *c.chain.Priority)
		}
	}
	return fmt.Sprintf("layout_%016x", h.Sum64())
}

// sync brings the kernel to what the table knows, in one transaction. A table of
// this layout keeps its sets: only elements that differ are written, and the counts
// of the others go on. The rules, which count nothing, are written anew.
func (t *Table) sync() error {
	there, err := t.own()
	if err != nil {
		return err
	}
	kept := false
	if there {
		if kept, err = t.hasSet(t.layout); err != nil {
			return err
		}
	}
	if kept {
		err = t.update()
		if !differs(err) {
			return err
		}
	}
	return t.replace(there)
}

// differs reports whether the kernel has not what was read, as where somebody else
// has added elements that meet ours. Such a table begins anew.
func differs(err error) bool {
	return errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, errUnsteady)
}

// update changes a table of this layout.
func (t *Table) update() error {
	have, err := t.read()
	if err != nil {
		return err
	}
	t.fill()
	wanted := t.all()
	if err := errors.Join(t.remove(without(have, wanted)), t.add(without(wanted, have))); err != nil {
		return err
	}
	return t.flush("change")
}

// replace makes the table anew.
func (t *Table) replace(there bool) error {
	if there {
		t.conn.DelTable(t.table())
	}
	t.conn.AddTable(t.table())
	for _, name := range slices.Sorted(maps.Keys(t.sets)) {
		if err := t.conn.AddSet(t.sets[name], nil); err != nil {
			return err
		}
	}
	t.fill()
	if err := t.add(t.all()); err != nil {
		return err
	}
	return t.flush("make")
}

// fill writes the rules of every chain.
func (t *Table) fill() {
	for _, c := range t.chains {
		t.conn.AddChain(c.chain)
		t.conn.FlushChain(c.chain)
		for _, r := range c.rules {
			t.conn.AddRule(&nftables.Rule{Table: c.chain.Table, Chain: c.chain, Exprs: r})
		}
	}
}

// all computes the elements that there should be, and keeps them by service.
func (t *Table) all() []element {
	out := bridgeElements(t.bridges)
	t.have = map[string][]element{}
	for name := range t.services {
		t.have[name] = t.wanted(name)
		out = append(out, t.have[name]...)
	}
	return out
}

// read gives the elements that the kernel has, of the sets that packets do not fill.
func (t *Table) read() (out []element, err error) {
	for name, set := range t.sets {
		if set.Dynamic {
			continue
		}
		list, err := t.readSet(set)
		if err != nil {
			return nil, fmt.Errorf("cannot read the nftables table %s: set %s: %w", t.name, name, err)
		}
		out = append(out, list...)
	}
	return out, nil
}

// readTries is how often a set is read that is rehashed meanwhile.
const readTries = 20

var errUnsteady = errors.New("the kernel is rearranging it")

// readSet gives the elements of one set. The kernel goes on with a long list where it
// was by count (nf_tables_dump_set), while a hash table that has grown is rearranged
// later: as many elements as then are missing come twice.
func (t *Table) readSet(set *nftables.Set) ([]element, error) {
	for range readTries {
		list, err := t.conn.GetSetElements(set)
		if err != nil {
			return nil, err
		}
		seen := make(map[element]bool, len(list))
		for _, e := range list {
			seen[elementOf(set.Name, e)] = true
		}
		if len(seen) == len(list) {
			return slices.Collect(maps.Keys(seen)), nil
		}
	}
	return nil, errUnsteady
}

// flush sends the transaction. What the kernel has after an error is not known, and
// an answer that was left unread would be taken for the next one's: the next change
// begins with a new socket, and a comparison.
func (t *Table) flush(verb string) error {
	err := t.conn.Flush()
	if t.unsure = err != nil; !t.unsure {
		return nil
	}
	t.conn.CloseLasting()
	if conn, again := connect(); again == nil {
		t.conn = conn
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) || verb == "make" && errors.Is(err, unix.ENOENT) {
		err = unavailable(err)
	}
	return fmt.Errorf("cannot %s the nftables table %s: %w", verb, t.name, err)
}

// Counters are packets that were refused: of a link since it is there, of two
// addresses since nothing was refused between them for a day.
type Counters struct {
	Spoofed map[uint32]uint64                    // by index of the host's end of the link
	Refused map[netip.Addr]map[netip.Addr]uint64 // by who was called, and who called
}

// Counters reads them.
func (t *Table) Counters() (Counters, error) {
	c := Counters{Spoofed: map[uint32]uint64{}, Refused: map[netip.Addr]map[netip.Addr]uint64{}}
	err := t.counts(setSpoofed, 4, func(key []byte, packets uint64) { c.Spoofed[nativeIndex(key)] = packets })
	for _, f := range families {
		n := int(4 * f.width)
		err = errors.Join(err, t.counts(setRefused+f.suffix, 2*n, func(key []byte, packets uint64) {
			to, _ := netip.AddrFromSlice(key[:n])
			from, _ := netip.AddrFromSlice(key[n:])
			if c.Refused[to] == nil {
				c.Refused[to] = map[netip.Addr]uint64{}
			}
			c.Refused[to][from] = packets
		}))
	}
	return c, err
}

// counts goes over the elements of a set that have counted something.
func (t *Table) counts(set string, size int, each func(key []byte, packets uint64)) error {
	list, err := t.conn.GetSetElements(t.sets[set])
	if err != nil {
		return fmt.Errorf("cannot read the nftables table %s: %w", t.name, err)
	}
	for _, e := range list {
		if e.Counter != nil && e.Counter.Packets > 0 && len(e.Key) == size {
			each(e.Key, e.Counter.Packets)
		}
	}
	return nil
}
