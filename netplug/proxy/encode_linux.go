package proxy

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// affinitySize bounds the clients whose endpoint is remembered. Where there is no room, further clients are spread
// as if their service had no affinity.
const affinitySize = 1 << 18

// sets are the table's sets and maps, in the order of setID.
func (k *kernel) sets() []*nftables.Set {
	frontend := []nftables.SetDatatype{nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService}
	address := []nftables.SetDatatype{nftables.TypeIPAddr, nftables.TypeInetService}
	ip, number := []nftables.SetDatatype{nftables.TypeIPAddr}, []nftables.SetDatatype{nftables.TypeMark}
	sets := []*nftables.Set{
		{Name: setServices, KeyType: concat(frontend), IsMap: true, DataType: nftables.TypeVerdict},
		{Name: setRefused, KeyType: concat(frontend), IsMap: true, DataType: nftables.TypeVerdict},
		{Name: setEndpoints, KeyType: concat(frontend, number), IsMap: true, DataType: concat(address)},
		{Name: setSticky, KeyType: concat(frontend, number), IsMap: true, DataType: concat(number, address)},
		{Name: setMembers, KeyType: concat(frontend, address)},
		{Name: setHairpin, KeyType: concat(ip, ip)},
		{Name: setAffinity, KeyType: concat(ip, frontend), IsMap: true, DataType: concat(number, address), Dynamic: true, HasTimeout: true, Size: affinitySize},
	}
	for i, s := range sets {
		s.Table, s.ID, s.Concatenation, s.KeyByteOrder = k.table, uint32(i+1), true, binaryutil.BigEndian
	}
	return sets
}

// setID numbers the sets from 1.
func setID(name string) uint32 {
	all := []string{setServices, setRefused, setEndpoints, setSticky, setMembers, setHairpin, setAffinity}
	return uint32(slices.Index(all, name) + 1)
}

// concat is never given more than the five types that a key can hold.
func concat(types ...[]nftables.SetDatatype) nftables.SetDatatype {
	return nftables.MustConcatSetType(slices.Concat(types...)...)
}

// encode yields the elements of each set as the kernel takes them: every part of a key on 4 bytes.
func encode(e elements) iter.Seq2[string, []nftables.SetElement] {
	return func(yield func(string, []nftables.SetElement) bool) {
		_ = yield(setServices, encodeMap(e.services, func(f Frontend, chain string) nftables.SetElement {
			return nftables.SetElement{Key: f.key(nil), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}}
		})) && yield(setRefused, encodeMap(e.refused, func(f Frontend, r refusal) nftables.SetElement {
			return nftables.SetElement{Key: f.key(nil), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: r.chain()}}
		})) && yield(setEndpoints, encodeMap(e.endpoints, func(s slot, at netip.AddrPort) nftables.SetElement {
			return nftables.SetElement{Key: append(s.key(nil), word(s.number)...), Val: address(nil, at)}
		})) && yield(setSticky, encodeMap(e.sticky, func(s slot, at netip.AddrPort) nftables.SetElement {
			return nftables.SetElement{Key: append(s.key(nil), word(s.number)...), Val: address(word(0), at)}
		})) && yield(setMembers, encodeMap(e.members, func(m member, _ struct{}) nftables.SetElement {
			return nftables.SetElement{Key: address(m.key(nil), m.at)}
		})) && yield(setHairpin, encodeMap(e.hairpin, func(a netip.Addr, _ struct{}) nftables.SetElement {
			return nftables.SetElement{Key: append(a.AsSlice(), a.AsSlice()...)}
		}))
	}
}

func encodeMap[K comparable, V any](m map[K]V, element func(K, V) nftables.SetElement) []nftables.SetElement {
	all := make([]nftables.SetElement, 0, len(m))
	for k, v := range m {
		all = append(all, element(k, v))
	}
	return all
}

func (r refusal) chain() string {
	return [...]string{reject: chainReject, drop: chainDrop, dropOutside: chainDropOutside}[r]
}

func refusalOf(chain string) (refusal, bool) {
	for _, r := range []refusal{reject, drop, dropOutside} {
		if r.chain() == chain {
			return r, true
		}
	}
	return 0, false
}

func (f Frontend) key(b []byte) []byte {
	b = append(b, f.Addr.AsSlice()...)
	b = append(b, byte(f.Protocol), 0, 0, 0)
	return append(binary.BigEndian.AppendUint16(b, f.Port), 0, 0)
}

func address(b []byte, at netip.AddrPort) []byte {
	b = append(b, at.Addr().AsSlice()...)
	return append(binary.BigEndian.AppendUint16(b, at.Port()), 0, 0)
}

// decode adds an element that the kernel has to e, and says whether it has the form of its set.
func decode(set string, el nftables.SetElement, e *elements) bool {
	switch set {
	case setServices, setRefused:
		chain, ok := verdictChain(el.Val)
		if !ok || len(el.Key) != 12 {
			return false
		}
		if set == setServices {
			e.services[frontendOf(el.Key)] = chain
			return true
		}
		e.refused[frontendOf(el.Key)], ok = refusalOf(chain)
		return ok
	case setEndpoints:
		if len(el.Key) != 16 || len(el.Val) != 8 {
			return false
		}
		e.endpoints[slotOf(el.Key)] = addressOf(el.Val)
	case setSticky:
		if len(el.Key) != 16 || len(el.Val) != 12 {
			return false
		}
		e.sticky[slotOf(el.Key)] = addressOf(el.Val[4:])
	case setMembers:
		if len(el.Key) != 20 {
			return false
		}
		e.members[member{frontendOf(el.Key), addressOf(el.Key[12:])}] = struct{}{}
	case setHairpin:
		if len(el.Key) != 8 {
			return false
		}
		e.hairpin[netip.AddrFrom4([4]byte(el.Key))] = struct{}{}
	}
	return true
}

func frontendOf(b []byte) Frontend {
	return Frontend{netip.AddrFrom4([4]byte(b)), Protocol(b[4]), binary.BigEndian.Uint16(b[8:])}
}

func slotOf(b []byte) slot { return slot{frontendOf(b), binary.NativeEndian.Uint32(b[12:])} }

func addressOf(b []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), binary.BigEndian.Uint16(b[4:]))
}

// verdictChain is the chain of a verdict, which the library leaves encoded.
func verdictChain(b []byte) (chain string, ok bool) {
	d, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return "", false
	}
	for d.Next() {
		if d.Type() == unix.NFTA_VERDICT_CHAIN {
			chain = d.String()
		}
	}
	return chain, d.Err() == nil && chain != ""
}
