package fairness

import "math"

// limits are how many seats a level has: by its shares, at least, and at most.
type limits struct{ nominal, lower, upper int }

// limitsOf are the limits of a level by its shares out of the sum of all. borrow < 0: it may borrow everything.
func limitsOf(seats int, shares, sum float64, lendable, borrow int) limits {
	l := limits{}
	if sum > 0 {
		l.nominal = int(math.Ceil(float64(seats) * shares / sum))
	}
	l.lower = l.nominal - int(math.Round(float64(l.nominal)*float64(lendable)/100))
	l.upper = math.MaxInt32
	if borrow >= 0 {
		l.upper = l.nominal + int(math.Round(float64(l.nominal)*float64(borrow)/100))
	}
	return l
}

// want is what a level has to have, may have, and would like to have.
type want struct{ lower, upper, target float64 }

// divide gives each level the same fraction of what it would like, as far as its bounds allow, so that all together have
// sum seats. Where the bounds make that impossible, all have their bound.
func divide(sum float64, wants []want) (seats []float64, fraction float64) {
	const least = 0.001 // who wants nothing gets in proportion, too
	clamp := func(w want, fraction float64) float64 {
		return math.Max(w.lower, math.Min(w.upper, fraction*math.Max(w.target, least)))
	}
	total := func(fraction float64) (n float64) {
		for _, w := range wants {
			n += clamp(w, fraction)
		}
		return n
	}
	low, high := 0.0, 1.0
	for total(high) < sum && high < 1e12 {
		high *= 2
	}
	for range 100 { // the sum grows with the fraction
		if middle := (low + high) / 2; total(middle) < sum {
			low = middle
		} else {
			high = middle
		}
	}
	for _, w := range wants {
		seats = append(seats, clamp(w, high))
	}
	return seats, high
}
