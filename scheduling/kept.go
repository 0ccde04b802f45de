package scheduling

// tournament is a tree over host numbers in which each node holds the better of
// its two children, or -1: the best host is at the root, and a change costs the
// path from one leaf to it.
type tournament []int32

func (t tournament) build(r *ranking) tournament {
	leaves := len(r.fit) * 64
	if len(t) != 2*leaves {
		t = make(tournament, 2*leaves)
	}
	for n := range leaves {
		t[leaves+n] = t.leaf(r, n)
	}
	for i := leaves - 1; i > 0; i-- {
		t[i] = t.play(r, i)
	}
	return t
}

func (t tournament) update(r *ranking, n int) {
	i := len(t)/2 + n
	t[i] = t.leaf(r, n)
	for i /= 2; i > 0; i /= 2 {
		t[i] = t.play(r, i)
	}
}

func (t tournament) leaf(r *ranking, n int) int32 {
	if r.fit.Has(n) {
		return int32(n)
	}
	return -1
}

func (t tournament) play(r *ranking, i int) int32 {
	a, b := t[2*i], t[2*i+1]
	if b < 0 || a >= 0 && r.better(int(a), int(b)) {
		return a
	}
	return b
}

func (t tournament) winner() int {
	if len(t) < 2 {
		return -1
	}
	return int(t[1])
}

// kept holds the rankings of the classes that were used last.
type kept struct {
	limit   int
	uses    uint64
	byClass map[string]*keptRanking
}

type keptRanking struct {
	ranking
	used uint64
}

func newKept(limit int) kept {
	return kept{limit: limit, byClass: map[string]*keptRanking{}}
}

// get returns the ranking of a class: a fresh one when there is none, in the
// memory of the one that was not used for longest when all places are taken; or
// scratch when none are kept.
func (k *kept) get(class []byte, scratch *ranking) *ranking {
	if k.limit <= 0 {
		return scratch
	}
	k.uses++
	r := k.byClass[string(class)]
	if r == nil {
		if len(k.byClass) >= k.limit {
			r = k.evict()
			r.valid = false
		} else {
			r = &keptRanking{}
		}
		k.byClass[string(class)] = r
	}
	r.used = k.uses
	return &r.ranking
}

func (k *kept) evict() (evicted *keptRanking) {
	oldest := ""
	for class, r := range k.byClass {
		if evicted == nil || r.used < evicted.used {
			oldest, evicted = class, r
		}
	}
	delete(k.byClass, oldest)
	return evicted
}
