//go:build linux

package netplug

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
)

// portsInKernel are the host ports that the maps hold.
func (r *rules) portsInKernel() (portTable, error) {
	out := portTable{}
	err := r.each(r.ports, func(e nftables.SetElement) { out[portOf(e.Key, netip.Addr{})] = targetOf(e.Val) })
	if err != nil {
		return nil, err
	}
	return out, r.each(r.onAddr, func(e nftables.SetElement) { out[portOf(e.Key[4:], addrAt(e.Key))] = targetOf(e.Val) })
}

// strays are the elements of pods that have none of the addresses.
func (r *rules) strays(kept map[netip.Addr]string) (map[*nftables.Set][]nftables.SetElement, error) {
	out := map[*nftables.Set][]nftables.SetElement{}
	sets := map[*nftables.Set]func(nftables.SetElement) netip.Addr{
		r.ports:   func(e nftables.SetElement) netip.Addr { return addrAt(e.Val) },
		r.onAddr:  func(e nftables.SetElement) netip.Addr { return addrAt(e.Val) },
		r.hairpin: func(e nftables.SetElement) netip.Addr { return addrAt(e.Key) },
	}
	if r.mode == Bridge {
		sets[r.own] = func(e nftables.SetElement) netip.Addr { return addrAt(e.Key[24:]) }
	}
	for s, addr := range sets {
		err := r.each(s, func(e nftables.SetElement) {
			if _, ok := kept[addr(e)]; !ok {
				out[s] = append(out[s], nftables.SetElement{Key: e.Key, Val: e.Val})
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// each calls fn for every element of a set.
func (r *rules) each(s *nftables.Set, fn func(nftables.SetElement)) error {
	c, err := r.conn()
	if err != nil {
		return err
	}
	list, err := c.GetSetElements(s)
	if err != nil {
		return fmt.Errorf("read nftables set %s %s: %w", s.Table.Name, s.Name, err)
	}
	for _, e := range list {
		fn(e)
	}
	return nil
}

func portOf(k []byte, addr netip.Addr) hostPort {
	return hostPort{addr: addr, proto: k[0], port: binary.BigEndian.Uint16(k[4:])}
}

func targetOf(v []byte) target {
	return target{addr: addrAt(v), port: binary.BigEndian.Uint16(v[4:])}
}

func addrAt(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }
