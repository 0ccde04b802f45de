package fairness

// maxRetry is the longest time after which somebody is asked to come back, in seconds.
const maxRetry = 32

// retries works out when those who were refused should come back: the more are refused, the later. The zero value
// is ready.
type retries struct {
	after   int64
	raised  int64               // the second in which after was doubled last
	current int64               // the second that is being counted
	counts  [2 * maxRetry]int64 // refusals by second
}

// refused counts a refusal in a second of the clock, and returns the seconds to wait.
func (r *retries) refused(second int64) int64 {
	r.after = max(r.after, 1)
	if second > r.current {
		r.adjust(second)
		for s := max(r.current+1, second-int64(len(r.counts))+1); s <= second; s++ {
			r.counts[s%int64(len(r.counts))] = 0
		}
		r.current = second
	}
	r.counts[r.current%int64(len(r.counts))]++
	return r.after
}

// adjust looks at the seconds before one that begins: the wait doubles under pressure and shrinks step by step.
func (r *retries) adjust(second int64) {
	n := int64(0)
	for s := second - r.after; s <= r.current; s++ {
		if s >= 0 && r.current-s < int64(len(r.counts)) {
			n += r.counts[s%int64(len(r.counts))]
		}
	}
	switch {
	case second-r.raised >= r.after && n >= 3*r.after:
		r.after, r.raised = min(2*r.after, maxRetry), second
	case n < r.after && r.after > 1:
		r.after--
	}
}
