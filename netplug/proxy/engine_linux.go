package proxy

import (
	"errors"
	"net/netip"
)

// engine holds a rule set and brings it into the kernel. Not for concurrent use.
type engine struct {
	host    *host
	rules   *ruleSet
	ranges  []netip.Prefix
	source  []netip.Addr
	cut     func(flows) // is told, after each transaction, which flows may have become stale
	started bool
	doubt   bool // the kernel may not have what rules has
}

// apply replaces the ports of services. If it fails, the next call, even with no changes, makes up for it. It
// returns how many elements were written.
func (e *engine) apply(changes map[string][]ServicePort) (int, error) {
	if !e.started {
		if err := e.start(); err != nil {
			return 0, err
		}
	}
	d := e.rules.update(changes)
	if e.doubt {
		return e.repair()
	}
	if d.len() == 0 {
		return 0, nil
	}
	e.doubt = true
	if err := e.host.kernel.commit(d); err != nil {
		return 0, err
	}
	e.cut(e.rules.flows(&d, false))
	e.doubt = false
	return d.len(), nil
}

// start looks at what an earlier run left, so that what is right of it is not touched.
func (e *engine) start() (err error) {
	e.doubt = true
	if e.rules.prior, _, err = e.host.kernel.read(); err != nil {
		return err
	}
	e.started = true
	return nil
}

// repair compares the kernel with the rule set and writes the difference, or everything if the table is not sound.
func (e *engine) repair() (int, error) {
	e.doubt = true
	e.rules.prune()
	k := e.host.kernel
	sound, err := k.sound(e.rules.all)
	if err != nil {
		return 0, err
	}
	was, ok, err := k.read()
	if err != nil {
		return 0, err
	}
	d := e.rules.from(was)
	if !sound || !ok || d.len() > 0 && k.commit(d) != nil { // of another form in a way that can't be seen
		if err := k.replace(e.rules.all); err != nil {
			return 0, err
		}
	}
	e.rules.prior = elements{}
	e.cut(e.rules.flows(&d, true))
	if err := errors.Join(k.tidy(e.rules.all), e.host.route(e.ranges, e.source)); err != nil {
		return d.len(), err
	}
	e.doubt = false
	return d.len(), nil
}

// remove takes everything out of the kernel.
func (e *engine) remove() error {
	e.doubt = true
	return errors.Join(e.host.kernel.remove(), e.host.unroute(e.ranges))
}
