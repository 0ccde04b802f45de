package queue

// ticket is an entry's place in a line; it is void once the entry has been handed out.
type ticket[K comparable] struct {
	e   *entry[K]
	seq uint64
}

func (t ticket[K]) valid() bool { return t.e.seq == t.seq }

// place is a ticket with the priority that it was drawn for.
type place[K comparable] struct {
	ticket[K]
	priority int
}

func (p place[K]) valid() bool { return p.ticket.valid() && p.priority == p.e.priority }

// byAge has the entry that became ready first on top.
type byAge[K comparable] []ticket[K]

func (h byAge[K]) Len() int           { return len(h) }
func (h byAge[K]) Less(i, j int) bool { return h[i].seq < h[j].seq }
func (h byAge[K]) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byAge[K]) Push(x any)        { *h = append(*h, x.(ticket[K])) }
func (h *byAge[K]) Pop() any          { return pop((*[]ticket[K])(h)) }

// byPriority has the highest priority on top, and of equals the one that became ready first.
type byPriority[K comparable] []place[K]

func (h byPriority[K]) Len() int { return len(h) }
func (h byPriority[K]) Less(i, j int) bool {
	if h[i].priority != h[j].priority {
		return h[i].priority > h[j].priority
	}
	return h[i].seq < h[j].seq
}
func (h byPriority[K]) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byPriority[K]) Push(x any)   { *h = append(*h, x.(place[K])) }
func (h *byPriority[K]) Pop() any     { return pop((*[]place[K])(h)) }

// byTime has the entry that is due first on top; entries know their place.
type byTime[K comparable] []*entry[K]

func (h byTime[K]) Len() int           { return len(h) }
func (h byTime[K]) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h byTime[K]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].dueAt, h[j].dueAt = i, j
}
func (h *byTime[K]) Push(x any) {
	e := x.(*entry[K])
	e.dueAt = len(*h)
	*h = append(*h, e)
}
func (h *byTime[K]) Pop() any {
	e := pop((*[]*entry[K])(h))
	e.dueAt = -1
	return e
}

func pop[E any](s *[]E) E {
	var zero E
	old := *s
	e := old[len(old)-1]
	old[len(old)-1] = zero
	*s = old[:len(old)-1]
	return e
}
