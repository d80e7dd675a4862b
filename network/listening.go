package network

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Socket is one that a service can be reached by.
type Socket struct {
	Protocol string // tcp, udp
	Address  netip.AddrPort
}

// String gives "tcp 127.0.0.1:80".
func (s Socket) String() string { return s.Protocol + " " + s.Address.String() }

// States of sockets in /proc/net (include/net/tcp_states.h). A UDP socket is
// CLOSE until it is connected.
const (
	stateClose  = 7
	stateListen = 10
)

// Listening lists the TCP sockets that listen and the UDP sockets that are
// bound but not connected in pid's network namespace, by protocol, address and
// port, each once (proc_pid_net(5)). They are the namespace's: a unit on the
// host's network sees everybody's.
func Listening(pid int) ([]Socket, error) {
	var all []Socket
	for _, t := range []struct {
		protocol, file string
		state          uint64
	}{{"tcp", "tcp", stateListen}, {"tcp", "tcp6", stateListen}, {"udp", "udp", stateClose}, {"udp", "udp6", stateClose}} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, t.file))
		if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(t.file, "6") {
			continue // no IPv6 here
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list the sockets of process %d: %w", pid, err)
		}
		if all, err = parseSockets(all, t.protocol, string(b), t.state); err != nil {
			return nil, fmt.Errorf("cannot read /proc/%d/net/%s: %w", pid, t.file, err)
		}
	}
	slices.SortFunc(all, func(a, b Socket) int {
		if c := strings.Compare(a.Protocol, b.Protocol); c != 0 {
			return c
		}
		return a.Address.Compare(b.Address)
	})
	return slices.Compact(all), nil
}

// parseSockets adds those sockets of a table that are in the state, of which
// lines are "0: 0100007F:0050 00000000:0000 0A ...".
func parseSockets(all []Socket, protocol, table string, state uint64) ([]Socket, error) {
	first := true
	for line := range strings.Lines(table) {
		words := strings.Fields(line)
		if first || len(words) < 4 {
			first = false // the heading
			continue
		}
		if s, err := strconv.ParseUint(words[3], 16, 8); err != nil || s != state {
			continue
		}
		address, err := parseAddress(words[1])
		if err != nil {
			return nil, err
		}
		all = append(all, Socket{Protocol: protocol, Address: address})
	}
	return all, nil
}

// parseAddress reads "0100007F:0050": 32-bit words as this machine orders
// their bytes, and a port.
func parseAddress(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	p, perr := strconv.ParseUint(port, 16, 16)
	if err != nil || perr != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address and port", s)
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(p)), nil
}
