package scheduling

import (
	"context"
	"slices"
)

// Verdict is the answer of a [PerHost] function.
type Verdict struct {
	No    string // why the host won't do; "": it will
	Score int64  // 0 … MaxScore; more is better
}

// PerHost makes a plugin of a function that judges one host at a time: the small
// form, at the price of one call per host. The function sees the item, the host
// and the items that are placed on it, in no particular order, and must be a pure
// function of them. It must not keep or change the slice.
//
// class is what the verdict depends on in the item, see [Local]; with nil, the
// function is asked about all hosts for every item.
func PerHost[I comparable, H any](name string, judge func(item I, host *H, placed []I) Verdict, class func(key []byte, item I) []byte) Plugin[I, H] {
	p := &perHost[I, H]{name: name, judge: judge, class: class}
	return Plugin[I, H]{Columns: p, Filter: p, Score: p}
}

type perHost[I comparable, H any] struct {
	name  string
	judge func(I, *H, []I) Verdict
	class func([]byte, I) []byte
	hosts Column[*H]
	on    Column[[]I]
}

func (p *perHost[I, H]) Name() string { return p.name }

func (p *perHost[I, H]) Host(n int, h *H) { *p.hosts.At(n) = h }

func (p *perHost[I, H]) Placed(n int, item I, by int) {
	on := p.on.At(n)
	if by > 0 {
		*on = append(*on, item)
		return
	}
	if i := slices.Index(*on, item); i >= 0 {
		*on = slices.Delete(*on, i, i+1)
	}
}

func (p *perHost[I, H]) Filter(_ context.Context, item I, hosts Hosts) error {
	for n := range hosts.All() {
		if p.ask(item, n).No != "" {
			hosts.Remove(n)
		}
	}
	return nil
}

func (p *perHost[I, H]) Score(_ context.Context, item I, hosts Hosts, score []int64) error {
	for n := range hosts.All() {
		score[n] = p.ask(item, n).Score
	}
	return nil
}

func (p *perHost[I, H]) Explain(item I, host int) []string {
	if no := p.ask(item, host).No; no != "" {
		return []string{no}
	}
	return nil
}

func (p *perHost[I, H]) Class(key []byte, item I) ([]byte, bool) {
	if p.class == nil {
		return key, false
	}
	return p.class(key, item), true
}

func (p *perHost[I, H]) ask(item I, n int) Verdict {
	return p.judge(item, p.hosts.Get(n), p.on.Get(n))
}
