package proxy

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
)

const (
	// chunk is how many elements go into one message; an attribute holds 64 KiB.
	chunk = 500
	// buffers bound a transaction, which goes to the kernel in one piece, and its acknowledgements, in bytes.
	buffers = 256 << 20
	// patience is how long the kernel may take for a transaction.
	patience = time.Minute
)

// kernel is one table of one network namespace. Not for concurrent use.
type kernel struct {
	name    string
	ns      *os.File // nil: the process's own
	layout  layout
	conn    *nftables.Conn
	socket  *netlink.Conn
	table   *nftables.Table
	classes map[string]struct{} // the chains of classes that are there
}

func newKernel(name string, ns *os.File, l layout) *kernel {
	return &kernel{name: name, ns: ns, layout: l, classes: map[string]struct{}{},
		table: &nftables.Table{Name: name, Family: nftables.TableFamilyIPv4}}
}

// connect opens a connection, unless there is one.
func (k *kernel) connect() error {
	if k.conn != nil {
		return nil
	}
	var socket *netlink.Conn
	options := []nftables.ConnOption{nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		socket = c
		return errors.Join(c.SetWriteBuffer(buffers), c.SetReadBuffer(buffers))
	})}
	if k.ns != nil {
		options = append(options, nftables.WithNetNSFd(int(k.ns.Fd())))
	}
	conn, err := nftables.New(options...)
	if err != nil {
		return fmt.Errorf("connect to nftables: %w", err)
	}
	k.conn, k.socket = conn, socket
	return nil
}

// close ends the connection. The next call makes another.
func (k *kernel) close() error {
	if k.conn == nil {
		return nil
	}
	err := k.conn.CloseLasting()
	k.conn, k.socket = nil, nil
	return err
}

// begin starts a dialogue with the kernel that ends in time. After one that failed the connection is not used again,
// as answers to what was asked before might still come.
func (k *kernel) begin() (end func(error) error, err error) {
	if err := k.connect(); err != nil {
		return nil, err
	}
	if err := k.socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, fmt.Errorf("bound the wait for nftables: %w", err)
	}
	return func(err error) error {
		if err != nil {
			err = errors.Join(err, k.close())
		}
		return err
	}, nil
}

// transact runs fill, which buffers messages, and commits them: all or nothing.
func (k *kernel) transact(fill func() error) error {
	end, err := k.begin()
	if err != nil {
		return err
	}
	if err = fill(); err == nil {
		err = k.conn.Flush()
	}
	return end(err)
}

// commit applies a difference.
func (k *kernel) commit(d difference) error {
	added := map[string]struct{}{}
	err := k.transact(func() error {
		if err := k.delete(d.del); err != nil {
			return err
		}
		if err := k.addClasses(d.add, added); err != nil {
			return err
		}
		return k.add(d.add)
	})
	if err != nil {
		return fmt.Errorf("commit %d additions and %d deletions to table %s: %w", d.add.len(), d.del.len(), k.name, err)
	}
	maps.Copy(k.classes, added)
	return nil
}

// replace makes the table what it should be, whatever there was of that name, with no moment between.
func (k *kernel) replace(e elements) error {
	k.classes = map[string]struct{}{}
	err := k.transact(func() error {
		k.conn.AddTable(k.table)
		k.conn.DelTable(k.table)
		k.conn.AddTable(k.table)
		for _, s := range k.sets() {
			if err := k.conn.AddSet(s, nil); err != nil {
				return err
			}
		}
		for _, c := range k.layout.fixed() {
			k.addChain(c)
		}
		for _, c := range k.layout.fixed() {
			if err := k.addRules(c); err != nil {
				return err
			}
		}
		if err := k.addClasses(e, k.classes); err != nil {
			return err
		}
		return k.add(e)
	})
	if err != nil {
		k.classes = map[string]struct{}{}
		return fmt.Errorf("set up table %s: %w", k.name, err)
	}
	return nil
}

// remove deletes the table; that there is none is fine.
func (k *kernel) remove() error {
	k.classes = map[string]struct{}{}
	err := k.transact(func() error {
		k.conn.AddTable(k.table)
		k.conn.DelTable(k.table)
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete table %s: %w", k.name, err)
	}
	return nil
}

func (k *kernel) addChain(c chainSpec) {
	chain := &nftables.Chain{Name: c.name, Table: k.table}
	if c.hook != nil {
		accept := nftables.ChainPolicyAccept
		chain.Type, chain.Hooknum, chain.Priority, chain.Policy = c.kind, c.hook, nftables.ChainPriorityRef(nftables.ChainPriority(c.prio)), &accept
	}
	k.conn.AddChain(chain)
}

func (k *kernel) addRules(c chainSpec) error {
	for _, r := range c.rules {
		tag, err := r.tag()
		if err != nil {
			return err
		}
		k.conn.AddRule(&nftables.Rule{Table: k.table, Chain: &nftables.Chain{Name: c.name, Table: k.table}, Exprs: r.exprs, UserData: tag})
	}
	return nil
}

// addClasses adds the chains that e's frontends need and that are not there yet, and notes them in added.
func (k *kernel) addClasses(e elements, added map[string]struct{}) error {
	for _, c := range needed(e) {
		if _, ok := k.classes[c.chain()]; ok {
			continue
		}
		spec := k.layout.of(c)
		k.addChain(spec)
		k.conn.FlushChain(&nftables.Chain{Name: spec.name, Table: k.table}) // it may be there, from another time
		if err := k.addRules(spec); err != nil {
			return err
		}
		added[spec.name] = struct{}{}
	}
	return nil
}

// needed lists the classes of e's frontends, each after those that its rules lead to.
func needed(e elements) []class {
	found := map[string]class{}
	for _, name := range e.services {
		c := e.classes[name]
		if found[name] = c; c.local {
			found[c.cluster().chain()] = c.cluster()
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b class) int {
		if a.local != b.local {
			return map[bool]int{false: -1, true: 1}[a.local]
		}
		return strings.Compare(a.chain(), b.chain())
	})
}

func (k *kernel) delete(e elements) error {
	return k.each(e, func(s *nftables.Set, all []nftables.SetElement) error {
		for i := range all {
			all[i].Val, all[i].VerdictData = nil, nil // the key says all
		}
		return k.conn.SetDeleteElements(s, all)
	})
}

func (k *kernel) add(e elements) error {
	return k.each(e, func(s *nftables.Set, all []nftables.SetElement) error { return k.conn.SetAddElements(s, all) })
}

// each calls do with the elements of each set, a chunk at a time.
func (k *kernel) each(e elements, do func(*nftables.Set, []nftables.SetElement) error) error {
	sets := k.sets()
	for name, all := range encode(e) {
		for part := range slices.Chunk(all, chunk) {
			if err := do(sets[setID(name)-1], part); err != nil {
				return fmt.Errorf("encode elements of set %s: %w", name, err)
			}
		}
	}
	return nil
}
