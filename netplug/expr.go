//go:build linux

package netplug

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers of four bytes, which concatenated keys are put together in; keys begin at key, values at value.
const (
	key   = unix.NFT_REG32_00
	value = unix.NFT_REG32_08
)

// rule puts the pieces of a rule together.
func rule(parts ...[]expr.Any) []expr.Any { return slices.Concat(parts...) }

// fromLinks matches packets that come in by a link whose name begins so.
func fromLinks(prefix string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(prefix)},
	}
}

// fromLink matches packets that come in by a link.
func fromLink(name string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ifname(name)},
	}
}

// ifname is a link's name as the kernel compares it.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func family(proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

// noWayBack matches packets whose source has no route by the link that they came in by.
func noWayBack() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagSADDR: true, FlagIIF: true, ResultOIF: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
	}
}

// toHost matches packets to an address of the host, those on the loopback range left out.
func toHost() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{127}},
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

func load(register uint32, base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

func source(register uint32) expr.Any { return load(register, expr.PayloadBaseNetworkHeader, 12, 4) }
func dest(register uint32) expr.Any   { return load(register, expr.PayloadBaseNetworkHeader, 16, 4) }

// in matches when what lies at the register is in the set, or is not.
func in(s *nftables.Set, register uint32, not bool) expr.Any {
	return &expr.Lookup{SourceRegister: register, SetName: s.Name, SetID: s.ID, Invert: not}
}

// translated matches connections whose destination was changed.
func translated() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(statusDNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// statusDNAT is the kernel's IPS_DST_NAT.
const statusDNAT = 1 << 5

func verdict(k expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: k}} }

func masquerade() expr.Any { return &expr.Masq{FullyRandom: true} }

// leadTo sends packets where a map says.
func leadTo(m *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Lookup{SourceRegister: key, DestRegister: value, IsDestRegSet: true, SetName: m.Name, SetID: m.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: value, RegProtoMin: value + 1, Specified: true},
	}
}

// intervals are the elements of a set of ranges, merged where they meet.
func intervals(ranges []netip.Prefix) []nftables.SetElement {
	var out []nftables.SetElement
	list := slices.Clone(ranges)
	slices.SortFunc(list, func(a, b netip.Prefix) int { return a.Masked().Addr().Compare(b.Masked().Addr()) })
	var end netip.Addr // the first address behind the last interval; invalid: it reaches the end of all addresses
	for _, r := range list {
		if !r.Addr().Is4() {
			continue
		}
		first, after := r.Masked().Addr(), lastOf(r).Next()
		switch {
		case len(out) > 0 && !end.IsValid():
			return out
		case len(out) > 0 && first.Compare(end) <= 0:
			if after.IsValid() && after.Compare(end) <= 0 {
				continue
			}
			out = out[:len(out)-1]
		default:
			out = append(out, nftables.SetElement{Key: first.AsSlice()})
		}
		if end = after; end.IsValid() {
			out = append(out, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return out
}
