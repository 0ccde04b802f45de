package schedulingtest

import (
	"context"
	"math/rand/v2"

	"github.com/bedplate/bedplate/scheduling"
)

// tb is what the suite needs of a *testing.T.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

// driven is a plugin with numbered hosts, as the engine would number them.
type driven[I, H any] struct {
	p       scheduling.Plugin[I, H]
	numbers map[string]int
	hosts   scheduling.Hosts
}

func newDriven[I, H any](p scheduling.Plugin[I, H]) *driven[I, H] {
	return &driven[I, H]{p: p, numbers: map[string]int{}, hosts: scheduling.NewHosts(64)}
}

func (d *driven[I, H]) host(name string, obj *H) {
	n, known := d.numbers[name]
	for !known && d.hosts.Has(n) {
		n++
	}
	d.numbers[name] = n
	d.hosts.Add(n)
	if d.p.Columns != nil {
		d.p.Columns.Host(n, obj)
	}
}

func (d *driven[I, H]) gone(name string) {
	n := d.numbers[name]
	delete(d.numbers, name)
	d.hosts.Remove(n)
	if d.p.Columns != nil {
		d.p.Columns.Host(n, nil)
	}
}

func (d *driven[I, H]) place(p placed[I], by int) {
	if d.p.Columns != nil {
		d.p.Columns.Placed(d.numbers[p.host], p.item, by)
	}
}

func (d *driven[I, H]) copyHosts() scheduling.Hosts {
	return append(scheduling.Hosts(nil), d.hosts...)
}

// answer asks for all hosts.
func (d *driven[I, H]) answer(t tb, item I) map[string]answer {
	t.Helper()
	fit := d.filter(t, item, d.copyHosts())
	score := d.score(t, item, fit)
	answers := map[string]answer{}
	for name, n := range d.numbers {
		a := answer{Fits: fit.Has(n)}
		if a.Fits {
			a.Score = score[n]
		}
		if why, ok := d.p.Filter.(scheduling.Explainer[I]); ok {
			a.Reasons = join(why.Explain(item, n))
			if a.Fits != (a.Reasons == "") {
				t.Fatalf("host %s: Filter says fits=%v, Explain says %q", name, a.Fits, a.Reasons)
			}
		}
		answers[name] = a
	}
	return answers
}

func (d *driven[I, H]) filter(t tb, item I, hosts scheduling.Hosts) scheduling.Hosts {
	t.Helper()
	if d.p.Filter == nil {
		return hosts
	}
	asked := append(scheduling.Hosts(nil), hosts...)
	if err := d.p.Filter.Filter(context.Background(), item, hosts); err != nil {
		t.Fatalf("filter %s: %v", d.p.Filter.Name(), err)
	}
	set := append(scheduling.Hosts(nil), hosts...)
	set.AndNot(asked)
	if !set.Empty() {
		t.Fatalf("filter %s set %d bits", d.p.Filter.Name(), set.Len())
	}
	if skip, ok := d.p.Filter.(scheduling.Skipper[I]); ok && skip.Skip(item) && hosts.Len() != asked.Len() {
		t.Fatalf("filter %s skips an item and clears %d hosts for it", d.p.Filter.Name(), asked.Len()-hosts.Len())
	}
	return hosts
}

// score returns the raw scores, having checked the scaled ones.
func (d *driven[I, H]) score(t tb, item I, fit scheduling.Hosts) []int64 {
	t.Helper()
	score := make([]int64, len(fit)*64)
	for n := range score {
		score[n] = -12345 // what a plugin finds there is nobody's
	}
	if d.p.Score == nil || fit.Empty() {
		return score
	}
	if err := d.p.Score.Score(context.Background(), item, fit, score); err != nil {
		t.Fatalf("score %s: %v", d.p.Score.Name(), err)
	}
	scaled := append([]int64(nil), score...)
	if scaler, ok := d.p.Score.(scheduling.Scaler); ok {
		low, high := extremes(fit, score)
		scaler.Scale(fit, scaled, low, high)
	}
	for n := range fit.All() {
		if v := scaled[n]; v < 0 || v > scheduling.MaxScore {
			t.Fatalf("score %s: %d is not between 0 and %d", d.p.Score.Name(), v, scheduling.MaxScore)
		}
	}
	return score
}

func extremes(fit scheduling.Hosts, score []int64) (low, high int64) {
	first := true
	for n := range fit.All() {
		if first {
			low, high, first = score[n], score[n], false
		}
		low, high = min(low, score[n]), max(high, score[n])
	}
	return low, high
}

// checkSubset asks for some of the hosts and expects the same answers.
func (d *driven[I, H]) checkSubset(t tb, r *rand.Rand, item I, all map[string]answer) {
	t.Helper()
	some := d.copyHosts()
	for _, n := range d.numbers {
		if r.IntN(2) == 0 {
			some.Remove(n)
		}
	}
	asked := append(scheduling.Hosts(nil), some...)
	fit := d.filter(t, item, some)
	score := d.score(t, item, fit)
	for name, n := range d.numbers {
		if !asked.Has(n) {
			continue
		}
		if fit.Has(n) != all[name].Fits || fit.Has(n) && score[n] != all[name].Score {
			t.Fatalf("host %s: the answer depends on which other hosts are asked about", name)
		}
	}
}

// class returns the item's class if all parts of the plugin are Local for it.
func (d *driven[I, H]) class(item I) (string, bool) {
	var key []byte
	for _, part := range []any{d.p.Filter, d.p.Score} {
		if part == nil {
			continue
		}
		l, ok := part.(scheduling.Local[I])
		if !ok {
			return "", false
		}
		if key, ok = l.Class(append(key, '|'), item); !ok {
			return "", false
		}
	}
	return string(key), true
}

func (d *driven[I, H]) isLocal(item I) bool {
	_, ok := d.class(item)
	return ok
}
