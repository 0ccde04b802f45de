//go:build linux

package hosts

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

func (h *Hosts) nft() (*nftables.Conn, error) {
	return nftables.New(nftables.WithNetNSFd(int(h.machine)))
}

func (h *Hosts) table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyIPv4, Name: "hosts-" + h.c.Name}
}

// masquerade gives what the hosts send elsewhere the machine's address. It replaces what is there in one step.
func (h *Hosts) masquerade() error {
	c, err := h.nft()
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	t := c.AddTable(h.table())
	c.DelTable(t)
	t = c.AddTable(h.table())
	chain := c.AddChain(&nftables.Chain{
		Name: "outwards", Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	for _, p := range h.c.Inside {
		if p.Addr().Is4() {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(within(destination, p), &expr.Verdict{Kind: expr.VerdictReturn})})
		}
	}
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: append(within(source, h.c.Range),
		&expr.Meta{Key: expr.MetaKeyOIF, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(uint32(h.bridge.Attrs().Index))},
		&expr.Masq{},
	)})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("masquerade what the hosts send: %w", err)
	}
	return nil
}

// Where an IPv4 header has its addresses.
const source, destination = 12, 16

// within matches packets with an address in an IPv4 range.
func within(offset uint32, p netip.Prefix) []expr.Any {
	first := p.Masked().Addr().As4()
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: first[:]},
	}
}

func (h *Hosts) unmasquerade() error {
	c, err := h.nft()
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	c.AddTable(h.table()) // so that there is one
	c.DelTable(h.table())
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove the rules: %w", err)
	}
	return nil
}
