//go:build linux

package netplug

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tables ends the names of the tables of every Network.
const tables = "-pods"

// rules is what one Network has in nftables: a table of family inet, and one of family bridge in that mode.
type rules struct {
	ns     *os.File
	prefix string
	mode   Mode
	masq   bool

	pods    *nftables.Table
	local   *nftables.Set // the node's ranges
	cluster *nftables.Set // these, and others that are reached without masquerade
	ports   *nftables.Set // protocol, port → address, port
	onAddr  *nftables.Set // address, protocol, port → address, port
	hairpin *nftables.Set // address, address: of pods with host ports
	found   *nftables.Set // what sysctls were like

	wires *nftables.Table
	own   *nftables.Set // link, MAC address, address: what a pod may send as (bridge)

	mu sync.Mutex // one transaction at a time
}

func newRules(ns *os.File, c *Config) *rules {
	r := &rules{ns: ns, prefix: c.Prefix, mode: c.Mode, masq: !c.NoMasquerade}
	r.pods = &nftables.Table{Name: c.Prefix + tables, Family: nftables.TableFamilyINet}
	r.wires = &nftables.Table{Name: c.Prefix + tables, Family: nftables.TableFamilyBridge}
	addr, proto, port := nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService
	to := nftables.MustConcatSetType(addr, port)
	r.local = &nftables.Set{Table: r.pods, ID: 1, Name: "local", KeyType: addr, Interval: true}
	r.cluster = &nftables.Set{Table: r.pods, ID: 2, Name: "cluster", KeyType: addr, Interval: true}
	r.ports = &nftables.Set{Table: r.pods, ID: 3, Name: "ports", IsMap: true, Concatenation: true,
		KeyType: nftables.MustConcatSetType(proto, port), DataType: to}
	r.onAddr = &nftables.Set{Table: r.pods, ID: 4, Name: "ports-on", IsMap: true, Concatenation: true,
		KeyType: nftables.MustConcatSetType(addr, proto, port), DataType: to}
	r.hairpin = &nftables.Set{Table: r.pods, ID: 5, Name: "hairpin", Concatenation: true, KeyType: nftables.MustConcatSetType(addr, addr)}
	r.found = &nftables.Set{Table: r.pods, ID: 6, Name: "found", KeyType: nftables.TypeMark}
	r.own = &nftables.Set{Table: r.wires, ID: 7, Name: "own", Concatenation: true,
		KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr, addr)}
	return r
}

// change makes one transaction of what fn does.
func (r *rules) change(what string, fn func(c *nftables.Conn) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.conn()
	if err == nil {
		err = fn(c)
	}
	if err == nil {
		err = c.Flush()
	}
	if err != nil {
		return fmt.Errorf("%s in nftables table %s: %w", what, r.pods.Name, err)
	}
	return nil
}

func (r *rules) conn() (*nftables.Conn, error) {
	return nftables.New(nftables.WithNetNSFd(int(r.ns.Fd())))
}

// install makes the tables, or brings them up to date; elements that are there stay. found is what sysctls were like.
func (r *rules) install(found uint32) error {
	return r.change("make rules", func(c *nftables.Conn) error {
		c.AddTable(r.pods)
		for _, s := range []*nftables.Set{r.local, r.cluster, r.ports, r.onAddr, r.hairpin, r.found} {
			if err := c.AddSet(s, nil); err != nil {
				return err
			}
		}
		if err := c.SetAddElements(r.found, foundElement(found)); err != nil {
			return err
		}
		r.guard(c)
		r.translate(c)
		if r.mode == Bridge {
			return r.installWires(c)
		}
		return nil
	})
}

func (r *rules) chain(c *nftables.Conn, t *nftables.Table, name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) func(...[]expr.Any) {
	ch := c.AddChain(&nftables.Chain{Name: name, Table: t, Type: kind, Hooknum: hook, Priority: priority})
	c.FlushChain(ch)
	return func(parts ...[]expr.Any) { c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: rule(parts...)}) }
}

// guard drops what pods send with a source that isn't theirs. In mode Routed the way back to a pod is its /32, so no
// set of addresses is needed; in mode Bridge the wires' own table looks closer.
func (r *rules) guard(c *nftables.Conn) {
	add := r.chain(c, r.pods, "guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	from := fromLinks(r.prefix + "-")
	if r.mode == Bridge {
		from = fromLink(bridgeName(r.prefix))
	}
	add(from, family(unix.NFPROTO_IPV6), verdict(expr.VerdictDrop))
	add(from, noWayBack(), verdict(expr.VerdictDrop))
}

// translate leads host ports to pods, and masquerades what leaves the cluster.
func (r *rules) translate(c *nftables.Conn) {
	v4 := family(unix.NFPROTO_IPV4)
	proto := expr.Any(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: key})
	port := func(register uint32) expr.Any { return load(register, expr.PayloadBaseTransportHeader, 2, 2) }
	for name, hook := range map[string]*nftables.ChainHook{"to-pods": nftables.ChainHookPrerouting, "from-host": nftables.ChainHookOutput} {
		add := r.chain(c, r.pods, name, nftables.ChainTypeNAT, hook, nftables.ChainPriorityNATDest)
		add(v4, toHost(), []expr.Any{dest(key), &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: key + 1}, port(key + 2)}, leadTo(r.onAddr))
		add(v4, toHost(), []expr.Any{proto, port(key + 1)}, leadTo(r.ports))
	}
	add := r.chain(c, r.pods, "leave", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	if r.mode == Bridge {
		r.keepRedirects(c)
		// The answer would otherwise go over the bridge, past the translation.
		add(v4, translated(), []expr.Any{source(1), in(r.local, 1, false), dest(1), in(r.local, 1, false), masquerade()})
	} else {
		add(v4, translated(), []expr.Any{source(key), dest(key + 1), in(r.hairpin, key, false), masquerade()})
	}
	if r.masq {
		add(v4, []expr.Any{source(1), in(r.local, 1, false), dest(1), in(r.cluster, 1, true), masquerade()})
	}
}

// keepRedirects keeps ICMP redirects from pods: one that believed "this address of the host is behind that pod" would
// send the next packets past the translation.
func (r *rules) keepRedirects(c *nftables.Conn) {
	add := r.chain(c, r.pods, "redirects", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	add(family(unix.NFPROTO_IPV4), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ifname(bridgeName(r.prefix))},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMP}},
		load(1, expr.PayloadBaseTransportHeader, 0, 1),
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{icmpRedirect}},
	}, verdict(expr.VerdictDrop))
}

const icmpRedirect = 5

// installWires lets a pod on the bridge send only as itself, in IPv4 and ARP.
func (r *rules) installWires(c *nftables.Conn) error {
	c.AddTable(r.wires)
	if err := c.AddSet(r.own, nil); err != nil {
		return err
	}
	add := r.chain(c, r.wires, "guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRef(-300))
	from := fromLinks(r.prefix + "-")
	ether := func(proto uint16) []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(proto)},
		}
	}
	name := expr.Any(&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: key})
	// sender matches if the MAC address at one place and the address at another are the link's own.
	sender := func(mac, addr expr.Any) []expr.Any { return []expr.Any{name, mac, addr, in(r.own, key, false)} }
	frame := load(key+4, expr.PayloadBaseLLHeader, 6, 6)
	add(from, ether(unix.ETH_P_IP), sender(frame, source(key+6)), verdict(expr.VerdictAccept))
	spa := load(key+6, expr.PayloadBaseNetworkHeader, 14, 4)
	add(from, ether(unix.ETH_P_ARP), sender(frame, spa), sender(load(key+4, expr.PayloadBaseNetworkHeader, 8, 6), spa), verdict(expr.VerdictAccept))
	add(from, verdict(expr.VerdictDrop))
	return nil
}

// setRanges replaces the ranges, in one transaction.
func (r *rules) setRanges(local, cluster []netip.Prefix) error {
	return r.change("set ranges", func(c *nftables.Conn) error {
		c.FlushSet(r.local)
		c.FlushSet(r.cluster)
		if e := intervals(local); len(e) > 0 {
			if err := c.SetAddElements(r.local, e); err != nil {
				return err
			}
		}
		if e := intervals(cluster); len(e) > 0 {
			return c.SetAddElements(r.cluster, e)
		}
		return nil
	})
}

// pod is what a pod has in the rules.
type pod struct {
	link  string
	mac   []byte
	addr  netip.Addr
	ports portTable
}

// elements are the pod's elements, by set.
func (r *rules) elements(p pod) map[*nftables.Set][]nftables.SetElement {
	out := map[*nftables.Set][]nftables.SetElement{}
	for h, to := range p.ports {
		k := append([]byte{h.proto, 0, 0, 0}, pad(h.port)...)
		s := r.ports
		if h.addr.IsValid() {
			s, k = r.onAddr, append(h.addr.AsSlice(), k...)
		}
		out[s] = append(out[s], nftables.SetElement{Key: k, Val: append(to.addr.AsSlice(), pad(to.port)...)})
	}
	if len(p.ports) > 0 {
		out[r.hairpin] = []nftables.SetElement{{Key: append(p.addr.AsSlice(), p.addr.AsSlice()...)}}
	}
	if r.mode == Bridge && p.mac != nil {
		k := append(ifname(p.link), append(slices.Clone(p.mac), 0, 0)...)
		out[r.own] = []nftables.SetElement{{Key: append(k, p.addr.AsSlice()...)}}
	}
	return out
}

func pad(port uint16) []byte { return append(binary.BigEndian.AppendUint16(nil, port), 0, 0) }

// add puts a pod's elements in; those that are there stay.
func (r *rules) add(p pod) error {
	e := r.elements(p)
	if len(e) == 0 {
		return nil
	}
	return r.change("add a pod", func(c *nftables.Conn) error {
		for s, list := range e {
			if err := c.SetAddElements(s, list); err != nil {
				return err
			}
		}
		return nil
	})
}

// remove takes elements out that are there. What is gone already is no error.
func (r *rules) remove(e map[*nftables.Set][]nftables.SetElement) error {
	if len(e) == 0 {
		return nil
	}
	err := r.change("remove pods", func(c *nftables.Conn) error {
		for s, list := range e {
			if err := c.SetDeleteElements(s, list); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	// One that is missing refuses them all: then each for itself.
	var errs []error
	for s, list := range e {
		for _, one := range list {
			err := r.change("remove a pod", func(c *nftables.Conn) error {
				return c.SetDeleteElements(s, []nftables.SetElement{one})
			})
			if !errors.Is(err, unix.ENOENT) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// destroy removes the tables that are there, in one transaction.
func (r *rules) destroy() error {
	return r.change("remove rules", func(c *nftables.Conn) error {
		for _, t := range []*nftables.Table{r.wires, r.pods} {
			there, err := tableIsThere(c, t)
			if err != nil {
				return err
			}
			if there {
				c.DelTable(t)
			}
		}
		return nil
	})
}

func tableIsThere(c *nftables.Conn, table *nftables.Table) (bool, error) {
	all, err := c.ListTablesOfFamily(table.Family)
	if err != nil {
		return false, fmt.Errorf("list nftables tables: %w", err)
	}
	return slices.ContainsFunc(all, func(t *nftables.Table) bool { return t.Name == table.Name }), nil
}

// readFound is what the sysctls were like when the table was made; 0 if there is no table.
func (r *rules) readFound() (uint32, error) {
	c, err := r.conn()
	if err != nil {
		return 0, err
	}
	if there, err := tableIsThere(c, r.pods); err != nil || !there {
		return 0, err
	}
	return foundIn(c, r.found)
}

func foundIn(c *nftables.Conn, s *nftables.Set) (uint32, error) {
	list, err := c.GetSetElements(s)
	if err != nil {
		return 0, fmt.Errorf("read nftables set %s %s: %w", s.Table.Name, s.Name, err)
	}
	if len(list) == 0 {
		return 0, nil
	}
	return binaryutil.NativeEndian.Uint32(list[0].Key), nil
}

func foundElement(found uint32) []nftables.SetElement {
	return []nftables.SetElement{{Key: binaryutil.NativeEndian.PutUint32(found)}}
}

// bequeath hands what was found to another Network of the same namespace, if there is one: it puts the sysctls back
// when it ends. One that was here before us, and found forwarding off, knows better what they were like.
func (r *rules) bequeath(found uint32) (heir string, err error) {
	err = r.change("hand over sysctls", func(c *nftables.Conn) error {
		all, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
		if err != nil {
			return err
		}
		for _, t := range all {
			if t.Name == r.pods.Name || !strings.HasSuffix(t.Name, tables) {
				continue
			}
			s := &nftables.Set{Table: t, Name: r.found.Name, KeyType: nftables.TypeMark}
			theirs, err := foundIn(c, s)
			if err != nil || theirs == 0 {
				continue
			}
			heir = t.Name
			if theirs&foundForward == 0 {
				return nil
			}
			c.FlushSet(s)
			return c.SetAddElements(s, foundElement(found))
		}
		return nil
	})
	return heir, err
}
