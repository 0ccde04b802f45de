package care

import (
	"slices"
	"time"
)

// member is what a look tells of one member.
type member struct {
	endpoint    string
	id          uint64
	err         error // why it is not well; nil: it is
	leader      bool
	size, inUse int64 // bytes of the file, and of them without free pages
	quota       int64
}

// roomPart is which part of its quota a member may take for the alarm to be lifted: else the next writes would
// raise it again.
const roomPart = 0.95

func (m *member) room() int64   { return int64(roomPart * float64(m.quota)) }
func (m *member) free() int64   { return m.size - m.inUse }
func (m *member) hasRoom() bool { return m.err == nil && m.size <= m.room() }

// view is what a look at the cluster tells.
type view struct {
	now     time.Time
	rev     int64 // the current revision; 0: unknown
	members []member
	alarms  []uint64 // the members whose alarm NOSPACE is up, seen or not
	unwell  error    // what Config.Healthy says
}

func (v *view) full() bool { return len(v.alarms) > 0 }

type kind int

const (
	nothing kind = iota
	compact
	defragment
	lift
)

func (k kind) String() string {
	return [...]string{"nothing", "compact", "defragment", "lift alarm"}[k]
}

// action is the next thing to do.
type action struct {
	kind   kind
	rev    int64  // compact: to this revision
	member member // defragment, lift: of this one
}

// sample is the revision at a time.
type sample struct {
	at  time.Time
	rev int64
}

// policy decides. It remembers the revisions of the past and what was done; it has no clock and does nothing.
type policy struct {
	c           Config
	samples     []sample // oldest first
	compacted   int64    // the last compaction
	compactedAt time.Time
	tried       map[uint64]time.Time // the last defragmentation of each member, successful or not
}

func newPolicy(c Config) *policy { return &policy{c: c, tried: map[uint64]time.Time{}} }

// decide returns what is to be done now. The caller does it, tells did, and looks again.
func (p *policy) decide(v view) action {
	p.note(v)
	if rev := p.compactTo(v); rev > p.compacted {
		return action{kind: compact, rev: rev}
	}
	if m, ok := p.liftable(v); ok {
		return action{kind: lift, member: m}
	}
	if m, ok := p.worst(v); ok {
		return action{kind: defragment, member: m}
	}
	return action{}
}

// did notes that an action was tried.
func (p *policy) did(a action, now time.Time) {
	switch a.kind {
	case compact:
		p.compacted, p.compactedAt = a.rev, now
		p.samples = slices.DeleteFunc(p.samples, func(s sample) bool { return s.rev <= a.rev })
	case defragment:
		p.tried[a.member.id] = now
	}
}

// note keeps the revision of the look, once per interval and while it changes.
func (p *policy) note(v view) {
	if v.rev <= p.compacted || p.c.History < 0 {
		return
	}
	if n := len(p.samples); n > 0 && (p.samples[n-1].rev >= v.rev || v.now.Sub(p.samples[n-1].at) < p.grain()) {
		return
	}
	p.samples = append(p.samples, sample{v.now, v.rev})
	if len(p.samples) > maxSamples { // compacting does not succeed
		p.samples = slices.Delete(p.samples, 0, 1)
	}
}

const maxSamples = 256

// grain is the least time between two samples: a hundred of them cover the history.
func (p *policy) grain() time.Duration {
	return max(min(p.c.Interval/2, p.c.History/10), p.c.History/100)
}

// compactTo returns the newest revision that is old enough; 0: none. A full store keeps the history since the
// look before, and is given an interval to free the pages before more is compacted.
func (p *policy) compactTo(v view) int64 {
	age := p.c.History
	if v.full() && p.c.History >= 0 {
		if !p.compactedAt.IsZero() && v.now.Sub(p.compactedAt) < 2*p.c.Interval {
			return 0
		}
		age = min(age, p.c.Interval/2)
	}
	var rev int64
	for _, s := range p.samples {
		if v.now.Sub(s.at) >= age {
			rev = s.rev
		}
	}
	return rev
}

// liftable returns a member whose alarm has lost its cause.
func (p *policy) liftable(v view) (member, bool) {
	for _, id := range v.alarms {
		at := slices.IndexFunc(v.members, func(m member) bool { return m.id == id })
		if at >= 0 && v.members[at].hasRoom() {
			return v.members[at], true
		}
	}
	return member{}, false
}

// worst returns the member to defragment next: the leader last, of the others the one that gains most.
func (p *policy) worst(v view) (member, bool) {
	if v.unwell != nil || slices.ContainsFunc(v.members, func(m member) bool { return m.err != nil }) {
		return member{}, false
	}
	if v.full() && v.now.Sub(p.compactedAt) < p.c.Interval {
		return member{}, false // the pages are still being freed
	}
	var best member
	found := false
	for _, m := range v.members {
		if !p.pays(m, v) {
			continue
		}
		if !found || best.leader && !m.leader || best.leader == m.leader && m.free() > best.free() {
			best, found = m, true
		}
	}
	return best, found
}

// rest is the least time between two defragmentations of a member.
func (p *policy) rest(v view) time.Duration {
	if v.full() {
		return min(p.c.Rest, 4*p.c.Interval)
	}
	return p.c.Rest
}

func (p *policy) resting(m member, v view) bool {
	at, ok := p.tried[m.id]
	return ok && v.now.Sub(at) < p.rest(v)
}

// finished says that no member will be defragmented for now: those in need of it have just been.
func (p *policy) finished(v view) bool {
	return !slices.ContainsFunc(v.members, func(m member) bool { return !m.hasRoom() && !p.resting(m, v) })
}

// pays says whether defragmenting a member is worth it now.
func (p *policy) pays(m member, v view) bool {
	if p.resting(m, v) {
		return false
	}
	if m.size > m.room() { // full, or about to be: whatever helps
		return m.inUse <= m.room()-m.quota/50
	}
	if m.size >= m.quota/10*8 && m.free() >= m.quota/10 {
		return true
	}
	return p.c.MinFree >= 0 && m.free() >= p.c.MinFree && float64(m.free()) >= p.c.MinFreeRatio*float64(m.size)
}
