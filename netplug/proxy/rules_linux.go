package proxy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// The names of the sets and maps, and the chains that are always there.
const (
	setServices  = "services"
	setRefused   = "refused"
	setEndpoints = "endpoints"
	setSticky    = "sticky"
	setMembers   = "members"
	setHairpin   = "hairpin"
	setAffinity  = "affinity"

	chainReject      = "do-reject"
	chainDrop        = "do-drop"
	chainDropOutside = "do-drop-outside"
	chainMark        = "do-mark"
	chainMarkOutside = "do-mark-outside"
	chainMasquerade  = "do-masquerade"
)

// priorityRefuse is before destination NAT, whose rules would not be asked any more.
const priorityRefuse = -110

// rule is one rule of a chain: what it does, and its words for who lists the table.
type rule struct {
	note  string
	exprs []expr.Any
}

// tag is the comment of a rule. It ends in a hash of what the rule does, by which the rule is known again.
func (r rule) tag() ([]byte, error) {
	h := sha256.New()
	for _, e := range r.exprs {
		b, err := expr.Marshal(byte(nftables.TableFamilyIPv4), e)
		if err != nil {
			return nil, fmt.Errorf("encode rule %q: %w", r.note, err)
		}
		h.Write(b)
	}
	return userdata.AppendString(nil, userdata.TypeComment, r.note+" "+hex.EncodeToString(h.Sum(nil)[:8])), nil
}

// chainSpec is a chain and all its rules.
type chainSpec struct {
	name  string
	kind  nftables.ChainType // of a base chain
	hook  *nftables.ChainHook
	prio  int32
	rules []rule
}

// layout knows the chains and rules of a proxy. All it depends on is fixed while the proxy runs.
type layout struct {
	pods     []netip.Prefix
	services []netip.Prefix
	mark     uint32
}

// fixed are the chains that don't depend on services.
func (l layout) fixed() []chainSpec {
	refuse := []rule{{"new connections that cannot be served", program(isNew(), destination(0), verdictOf(setRefused, 0))}}
	serve := []rule{{"to the chain that chooses an endpoint", program(destination(0), verdictOf(setServices, 0))}}
	chains := []chainSpec{
		{name: chainReject, rules: []rule{
			{"TCP: reset", program(isTCP(), one(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}))},
			{"others: port unreachable", one(&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 3})},
		}},
		{name: chainDrop, rules: []rule{{"there are endpoints, but not here", one(&expr.Verdict{Kind: expr.VerdictDrop})}}},
		{name: chainDropOutside, rules: append(l.inside(expr.Verdict{Kind: expr.VerdictReturn}),
			rule{"there are endpoints, but not here", one(&expr.Verdict{Kind: expr.VerdictDrop})})},
		{name: chainMark, rules: l.markRules()},
		{name: chainMarkOutside, rules: append(l.fromPods(expr.Verdict{Kind: expr.VerdictReturn}), l.markRules()...)},
		{name: chainMasquerade, rules: []rule{{"the mark has done its work", l.setMark(false)}, {"this node's address", one(&expr.Masq{FullyRandom: true})}}},
		{"refuse-prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, priorityRefuse, refuse},
		{"refuse-output", nftables.ChainTypeFilter, nftables.ChainHookOutput, priorityRefuse, refuse},
		{"nat-prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, -100, serve},
		{"nat-output", nftables.ChainTypeNAT, nftables.ChainHookOutput, -100, serve},
		{"nat-postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 100, []rule{
			{"whom answers would not reach otherwise", program(l.marked(), jump(chainMasquerade))},
			{"from a pod to itself", program(wasRewritten(), field(0, 12, 4), field(1, 16, 4), find(setHairpin, 0), one(&expr.Masq{FullyRandom: true}))},
		}},
	}
	if len(l.services) > 0 {
		chains = append(chains,
			chainSpec{"unknown-forward", nftables.ChainTypeFilter, nftables.ChainHookForward, 0, l.unknown()},
			chainSpec{"unknown-output", nftables.ChainTypeFilter, nftables.ChainHookOutput, 0, l.unknown()})
	}
	return chains
}

// unknown refuses what is still meant for a service address after destination NAT: no service has that port.
func (l layout) unknown() (rules []rule) {
	for _, p := range l.services {
		rules = append(rules, rule{"no such service", program(within(16, p), one(&expr.Verdict{Kind: expr.VerdictGoto, Chain: chainReject}))})
	}
	return rules
}

// inside gives a verdict on what comes from the cluster: from a pod, or from this node.
func (l layout) inside(v expr.Verdict) []rule {
	return append([]rule{{"from this node", program(noInput(), one(&v))}}, l.fromPods(v)...)
}

func (l layout) fromPods(v expr.Verdict) (rules []rule) {
	for _, p := range l.pods {
		rules = append(rules, rule{"from a pod", program(within(12, p), one(&v))})
	}
	return rules
}

// markRules mark a connection's first packet to be masqueraded.
func (l layout) markRules() []rule { return []rule{{"to be masqueraded", l.setMark(true)}} }

func (l layout) setMark(on bool) []expr.Any {
	var set uint32
	if on {
		set = l.mark
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg(0)},
		&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 4, Mask: word(^l.mark), Xor: word(set)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg(0)},
	}
}

// marked goes on with a packet that has the mark.
func (l layout) marked() []expr.Any {
	return program(one(&expr.Meta{Key: expr.MetaKeyMARK, Register: reg(0)}), anyOf(l.mark))
}

// of is the chain of a class.
func (l layout) of(c class) chainSpec {
	s := chainSpec{name: c.chain()}
	switch {
	case c.local:
		s.rules = l.inside(expr.Verdict{Kind: expr.VerdictGoto, Chain: c.cluster().chain()})
	case c.source == masquerade:
		s.rules = []rule{{"answers must come back here", jump(chainMark)}}
	case c.source == pods && len(l.pods) > 0:
		s.rules = []rule{{"answers must come back here, but pods' do", jump(chainMarkOutside)}}
	}
	switch {
	case c.here > 0:
		s.rules = append(s.rules, c.pick(localSlots, c.here)...)
	case !c.local:
		s.rules = append(s.rules, c.pick(0, c.all)...)
	}
	return s
}

// pick chooses one of n endpoints whose slots begin at first.
func (c class) pick(first uint32, n int) []rule {
	number := one(&expr.Numgen{Register: reg(3), Modulus: uint32(n), Type: unix.NFT_NG_RANDOM, Offset: first})
	if c.affinity == 0 {
		return []rule{{"one of the endpoints", program(destination(0), number, value(setEndpoints, 0, 4), dnat(4))}}
	}
	return c.stay(first, n)
}

func dnat(r uint32) []expr.Any {
	return one(&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg(r), RegProtoMin: reg(r + 1)})
}

// stay is pick for frontends with affinity. Registers: the source in 0, the frontend in 1 to 3, the endpoint in 4
// and 5.
//
// The values of the maps sticky and affinity begin with a word that means nothing. It lands in register 3, which is
// loaded anew before the rest of the value is part of a key or of an element: some versions of nft abort when they
// list a key with a part that begins where a map's value does, but only complain of one that they can't follow.
func (c class) stay(first uint32, n int) []rule {
	key := program(field(0, 12, 4), destination(1))
	port := destinationPort(3)
	remembered := program(key, value(setAffinity, 0, 3), port)
	number := one(&expr.Numgen{Register: reg(4), Modulus: uint32(n), Type: unix.NFT_NG_RANDOM, Offset: first})
	random := program(key, number, value(setSticky, 1, 3), port)
	dynset := func(op uint32, timeout time.Duration) []expr.Any {
		return one(&expr.Dynset{SrcRegKey: reg(0), SrcRegData: reg(3), SetName: setAffinity, SetID: setID(setAffinity), Operation: op, Timeout: timeout})
	}
	return []rule{
		{"the client's endpoint, if it is still there", program(remembered, find(setMembers, 1), dynset(unix.NFT_DYNSET_OP_UPDATE, c.affinity), dnat(4))},
		{"forget one that is gone", program(remembered, dynset(dynsetDelete, 0))},
		{"another, and remember it", program(random, dynset(unix.NFT_DYNSET_OP_UPDATE, c.affinity), dnat(4))},
		{"one of the endpoints, where there is no room to remember", program(random, dnat(4))},
	}
}

// dynsetDelete is NFT_DYNSET_OP_DELETE of linux/netfilter/nf_tables.h.
const dynsetDelete = 2

// reg is the number of the n-th register of 4 bytes.
func reg(n uint32) uint32 { return unix.NFT_REG32_00 + n }

func one(e expr.Any) []expr.Any { return []expr.Any{e} }

func program(parts ...[]expr.Any) (all []expr.Any) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// word is a number as the kernel has it in a register.
func word(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func field(r, offset, length uint32) []expr.Any {
	return one(&expr.Payload{DestRegister: reg(r), Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length})
}

// destination loads address, protocol and port that a packet is for.
func destination(r uint32) []expr.Any {
	return program(field(r, 16, 4), one(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg(r + 1)}), destinationPort(r+2))
}

func destinationPort(r uint32) []expr.Any {
	return one(&expr.Payload{DestRegister: reg(r), Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
}

func equal(r uint32, data []byte) []expr.Any {
	return one(&expr.Cmp{Op: expr.CmpOpEq, Register: reg(r), Data: data})
}

// find goes on if the set has the key that begins at register r.
func find(set string, r uint32) []expr.Any {
	return one(&expr.Lookup{SourceRegister: reg(r), SetName: set, SetID: setID(set)})
}

// value loads what the map has for the key at register r into register to, or ends the rule.
func value(set string, r, to uint32) []expr.Any {
	return one(&expr.Lookup{SourceRegister: reg(r), DestRegister: reg(to), IsDestRegSet: true, SetName: set, SetID: setID(set)})
}

// verdictOf follows the verdict that the map has for the key at register r.
func verdictOf(set string, r uint32) []expr.Any {
	return one(&expr.Lookup{SourceRegister: reg(r), DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: set, SetID: setID(set)})
}

func jump(chain string) []expr.Any { return one(&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}) }

// within goes on if the address at an offset of the IP header is in p.
func within(offset uint32, p netip.Prefix) []expr.Any {
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-p.Bits()))
	return program(field(0, offset, 4),
		one(&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 4, Mask: mask, Xor: make([]byte, 4)}),
		equal(0, p.Masked().Addr().AsSlice()))
}

func isTCP() []expr.Any {
	return program(one(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg(0)}), equal(0, []byte{byte(TCP)}))
}

// noInput goes on if the packet came in on no interface: it was made here.
func noInput() []expr.Any {
	return program(one(&expr.Meta{Key: expr.MetaKeyIIF, Register: reg(0)}), equal(0, word(0)))
}

func isNew() []expr.Any {
	return program(one(&expr.Ct{Key: expr.CtKeySTATE, Register: reg(0)}), anyOf(expr.CtStateBitNEW))
}

// wasRewritten goes on if the connection's destination was (IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h).
func wasRewritten() []expr.Any {
	return program(one(&expr.Ct{Key: expr.CtKeySTATUS, Register: reg(0)}), anyOf(1<<5))
}

// anyOf goes on if register 0 has one of these bits.
func anyOf(mask uint32) []expr.Any {
	return []expr.Any{
		&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 4, Mask: word(mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg(0), Data: make([]byte, 4)},
	}
}
