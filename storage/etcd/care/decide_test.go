package care

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const mib = 1 << 20

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return t0.Add(d) }

// sound is a member in no need of anything.
func sound(id uint64) member {
	return member{endpoint: string('a' + rune(id)), id: id, size: 100 * mib, inUse: 90 * mib, quota: 1000 * mib}
}

func sized(id uint64, size, inUse int64) member {
	m := sound(id)
	m.size, m.inUse = size*mib, inUse*mib
	return m
}

func leading(m member) member {
	m.leader = true
	return m
}

func ill(m member) member {
	m.err = errors.New("away")
	return m
}

func TestDecide(t *testing.T) {
	const fragmented, clean = 600, 100
	for name, c := range map[string]struct {
		members []member
		alarms  []uint64
		unwell  error
		want    kind
		of      uint64
	}{
		"nothing to do":     {members: []member{sound(1), sound(2)}},
		"free pages":        {members: []member{sound(1), sized(2, fragmented, clean)}, want: defragment, of: 2},
		"too few":           {members: []member{sized(1, 120, 10)}},
		"too small a part":  {members: []member{sized(1, 600, 320)}},
		"the most first":    {members: []member{sized(1, 600, clean), sized(2, 700, clean)}, want: defragment, of: 2},
		"the leader last":   {members: []member{leading(sized(1, 700, clean)), sized(2, 600, clean)}, want: defragment, of: 2},
		"the leader at all": {members: []member{leading(sized(1, 700, clean)), sound(2)}, want: defragment, of: 1},
		"a member is ill":   {members: []member{sized(1, 600, clean), ill(sound(2))}},
		"it is ill itself":  {members: []member{ill(sized(1, 600, clean))}},
		"others are ill":    {members: []member{sized(1, 600, clean)}, unwell: errors.New("away")},
		"near the quota":    {members: []member{sized(1, 850, 700)}, want: defragment, of: 1},
		"near, all in use":  {members: []member{sized(1, 850, 800)}},
		"about to be full":  {members: []member{sized(1, 960, 920)}, want: defragment, of: 1},
		"full of data":      {members: []member{sized(1, 1000, 990)}, alarms: []uint64{1}},
		"full of pages":     {members: []member{sized(1, 1000, 500)}, alarms: []uint64{1}, want: defragment, of: 1},
		"room again":        {members: []member{sized(1, 500, 500)}, alarms: []uint64{1}, want: lift, of: 1},
		"room, one is ill":  {members: []member{sized(1, 500, 500), ill(sound(2))}, alarms: []uint64{1}, want: lift, of: 1},
		"one has room": {
			members: []member{sized(1, 1000, 500), sized(2, 500, 500)}, alarms: []uint64{1, 2}, want: lift, of: 2,
		},
		"an alarm of another":    {members: []member{sound(1)}, alarms: []uint64{7}},
		"no alarm of an ill one": {members: []member{sound(1), ill(sound(2))}, alarms: []uint64{2}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPolicy(Config{}.withDefaults())
			v := view{now: t0, members: c.members, alarms: c.alarms, unwell: c.unwell}
			got := p.decide(v)
			require.Equal(t, c.want.String(), got.kind.String())
			require.Equal(t, c.of, got.member.id)
		})
	}
}

func TestRestsBetweenDefragmentations(t *testing.T) {
	p := newPolicy(Config{Rest: time.Hour}.withDefaults())
	v := view{now: t0, members: []member{sized(1, 600, 100)}}
	a := p.decide(v)
	require.Equal(t, defragment, a.kind)
	p.did(a, t0)
	v.now = at(59 * time.Minute)
	require.Equal(t, nothing, p.decide(v).kind)
	v.now = at(time.Hour)
	require.Equal(t, defragment, p.decide(v).kind)

	full := view{now: at(41 * time.Second), members: []member{sized(1, 1000, 500)}, alarms: []uint64{1}}
	require.Equal(t, defragment, p.decide(full).kind, "a full store waits less")
}

func TestCompactsByTime(t *testing.T) {
	p := newPolicy(Config{History: time.Minute, Interval: 10 * time.Second}.withDefaults())
	for i := range int64(6) {
		require.Equal(t, nothing, p.decide(view{now: at(time.Duration(i) * 10 * time.Second), rev: 100 + i}).kind)
	}
	a := p.decide(view{now: at(time.Minute), rev: 200})
	require.Equal(t, action{kind: compact, rev: 100}, a)
	p.did(a, at(time.Minute))
	require.Equal(t, nothing, p.decide(view{now: at(time.Minute), rev: 200}).kind)
	a = p.decide(view{now: at(10 * time.Minute), rev: 200})
	require.Equal(t, action{kind: compact, rev: 200}, a)
	p.did(a, at(10*time.Minute))
	require.Equal(t, nothing, p.decide(view{now: at(20 * time.Minute), rev: 200}).kind, "nothing new")

	never := newPolicy(Config{History: -1}.withDefaults())
	never.decide(view{now: t0, rev: 5, alarms: []uint64{1}})
	require.Equal(t, nothing, never.decide(view{now: at(time.Hour), rev: 9, alarms: []uint64{1}}).kind)
}

// TestFullStore walks through all that a full store needs.
func TestFullStore(t *testing.T) {
	c := Config{Interval: 10 * time.Second}.withDefaults()
	p := newPolicy(c)
	full := view{now: t0, rev: 50, members: []member{sized(1, 1000, 999)}, alarms: []uint64{1}}
	require.Equal(t, nothing, p.decide(full).kind, "the history of an interval is kept")
	full.now, full.rev = at(c.Interval), 60
	a := p.decide(full)
	require.Equal(t, action{kind: compact, rev: 50}, a)
	p.did(a, full.now)
	full.members[0] = sized(1, 1000, 800)
	require.Equal(t, nothing, p.decide(full).kind, "the pages are still being freed")
	require.False(t, p.finished(full))
	full.now, full.members[0] = at(2*c.Interval), sized(1, 1000, 300)
	a = p.decide(full)
	require.Equal(t, defragment, a.kind)
	p.did(a, full.now)
	require.True(t, p.finished(full))
	full.members[0] = sized(1, 300, 300)
	require.Equal(t, lift, p.decide(full).kind)
}

// TestHistoryIsKept: whatever happens, without an alarm no revision is compacted that was the current one
// less than History ago, and samples stay bounded.
func TestHistoryIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{History: time.Duration(rapid.IntRange(1, 600).Draw(t, "history")) * time.Second}.withDefaults()
		p := newPolicy(c)
		now, rev := t0, int64(1)
		var past []sample
		for range rapid.IntRange(1, 200).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "pause")) * time.Second)
			rev += int64(rapid.IntRange(0, 3).Draw(t, "writes"))
			past = append(past, sample{now, rev})
			a := p.decide(view{now: now, rev: rev})
			if a.kind != compact {
				continue
			}
			for _, s := range past {
				if now.Sub(s.at) < c.History && s.rev < a.rev {
					t.Fatalf("revision %d was current %s ago, and %d is compacted", s.rev, now.Sub(s.at), a.rev)
				}
			}
			p.did(a, now)
		}
		if len(p.samples) > maxSamples {
			t.Fatalf("%d samples", len(p.samples))
		}
	})
}
