package proxy

import (
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// read returns what is in the table's maps and sets; not ok if there is no such table, or one of another form.
func (k *kernel) read() (was elements, ok bool, err error) {
	end, err := k.begin()
	if err != nil {
		return was, false, err
	}
	was = newElements()
	for _, s := range k.sets() {
		if s.Name == setAffinity {
			continue
		}
		all, err := k.conn.GetSetElements(s)
		if err != nil {
			// The library hides the cause; whatever it was, replacing the table helps, or tells what is wrong.
			return newElements(), false, k.close()
		}
		for _, e := range all {
			if !decode(s.Name, e, &was) {
				return newElements(), false, nil
			}
		}
	}
	return was, true, end(nil)
}

// sound says whether the table has the chains and rules that it should have for is, what should be in it. If not,
// only replace helps.
func (k *kernel) sound(is elements) (bool, error) {
	end, err := k.begin()
	if err != nil {
		return false, err
	}
	present, err := k.chains()
	ok := present != nil
	if err == nil && ok {
		ok, err = k.verify(present, is)
	}
	return ok && err == nil, end(err)
}

// chains lists the names of the table's chains; nil if there is no table.
func (k *kernel) chains() (map[string]*nftables.Chain, error) {
	all, err := k.conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	var found map[string]*nftables.Chain
	for _, c := range all {
		if c.Table.Name != k.name {
			continue
		}
		if found == nil {
			found = map[string]*nftables.Chain{}
		}
		found[c.Name] = c
	}
	return found, nil
}

// verify says whether the chains are as they should be: all that are needed are there, with their rules, and nothing
// else but classes that are not in use. It notes which classes there are.
func (k *kernel) verify(present map[string]*nftables.Chain, is elements) (bool, error) {
	want := map[string]chainSpec{}
	for _, c := range k.layout.fixed() {
		want[c.name] = c
	}
	for _, c := range needed(is) {
		if name := c.chain(); present[name] != nil {
			want[name] = k.layout.of(c)
		}
	}
	tags, err := k.tags()
	if err != nil {
		return false, err
	}
	k.classes = map[string]struct{}{}
	for name, spec := range want {
		c := present[name]
		if c == nil || (c.Hooknum == nil) != (spec.hook == nil) || c.Hooknum != nil && *c.Hooknum != *spec.hook {
			return false, nil
		}
		if ok, err := spec.has(tags[name]); err != nil || !ok {
			return false, err
		}
		if strings.HasPrefix(name, classPrefix) {
			k.classes[name] = struct{}{}
		}
	}
	for name := range present {
		if _, ok := want[name]; !ok && !strings.HasPrefix(name, classPrefix) {
			return false, nil
		}
	}
	return true, nil
}

// tags are the comments of the table's rules, in order, by chain. Only these are read: the rules themselves are not
// needed, and the library can't decode all of them.
func (k *kernel) tags() (map[string][]string, error) {
	filter, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: append([]byte(k.name), 0)}})
	if err != nil {
		return nil, fmt.Errorf("encode the name of table %s: %w", k.name, err)
	}
	answers, err := k.socket.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{unix.NFPROTO_IPV4, unix.NFNETLINK_V0, 0, 0}, filter...),
	})
	if err != nil {
		return nil, fmt.Errorf("read the rules of table %s: %w", k.name, err)
	}
	found := map[string][]string{}
	for _, m := range answers {
		if len(m.Data) < 4 {
			continue
		}
		d, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return nil, fmt.Errorf("decode a rule of table %s: %w", k.name, err)
		}
		var table, chain, tag string
		for d.Next() {
			switch d.Type() {
			case unix.NFTA_RULE_TABLE:
				table = d.String()
			case unix.NFTA_RULE_CHAIN:
				chain = d.String()
			case unix.NFTA_RULE_USERDATA:
				tag = string(d.Bytes())
			}
		}
		if err := d.Err(); err != nil {
			return nil, fmt.Errorf("decode a rule of table %s: %w", k.name, err)
		}
		if table == k.name {
			found[chain] = append(found[chain], tag)
		}
	}
	return found, nil
}

// has says whether the tags of a chain are those of its rules.
func (c chainSpec) has(tags []string) (bool, error) {
	if len(tags) != len(c.rules) {
		return false, nil
	}
	for i, r := range c.rules {
		tag, err := r.tag()
		if err != nil || string(tag) != tags[i] {
			return false, err
		}
	}
	return true, nil
}

// tidy deletes the chains that no frontend of is needs any more, and whose form nobody knows.
func (k *kernel) tidy(is elements) error {
	end, err := k.begin()
	if err != nil {
		return err
	}
	present, err := k.chains()
	if err = end(err); err != nil {
		return err
	}
	keep := map[string]struct{}{}
	for _, c := range needed(is) {
		keep[c.chain()] = struct{}{}
	}
	var gone []string
	for name := range present {
		if _, ok := keep[name]; !ok && strings.HasPrefix(name, classPrefix) {
			gone = append(gone, name)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	err = k.transact(func() error {
		for _, name := range gone {
			k.conn.FlushChain(&nftables.Chain{Name: name, Table: k.table})
		}
		for _, name := range gone {
			k.conn.DelChain(&nftables.Chain{Name: name, Table: k.table})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete %d unused chains of table %s: %w", len(gone), k.name, err)
	}
	for _, name := range gone {
		delete(k.classes, name)
	}
	return nil
}
