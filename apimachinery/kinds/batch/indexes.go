package batch

import (
	"fmt"
	"strconv"
	"strings"
)

// Indexes are written as "1,3-5,7": numbers and intervals, in order, below the number of completions.

type interval struct{ first, last int32 }

func parseInterval(text string, completions int32) (interval, error) {
	parts := strings.Split(text, "-")
	if len(parts) > 2 {
		return interval{}, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", text)
	}
	var ends [2]int32
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil {
			return interval{}, fmt.Errorf("cannot convert string to integer for index: %q", p)
		}
		if n >= int(completions) {
			return interval{}, fmt.Errorf("too large index: %q", p)
		}
		ends[i] = int32(n)
	}
	if len(parts) == 1 {
		return interval{ends[0], ends[0]}, nil
	}
	if ends[0] >= ends[1] {
		return interval{}, fmt.Errorf("non-increasing order, previous: %d, current: %d", ends[0], ends[1])
	}
	return interval{ends[0], ends[1]}, nil
}

// countIndexes says how many indexes a text names, or what is wrong with it.
func countIndexes(text string, completions int32) (int32, error) {
	if text == "" {
		return 0, nil
	}
	var total int32
	var previous *interval
	for part := range strings.SplitSeq(text, ",") {
		i, err := parseInterval(part, completions)
		if err != nil {
			return 0, err
		}
		if previous != nil && previous.last >= i.first {
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", previous.last, i.first)
		}
		total += i.last - i.first + 1
		previous = &i
	}
	return total, nil
}

// overlap finds an index that is in both texts. Parts that make no sense are left out; they are told elsewhere.
func overlap(completed, failed string, completions int32) error {
	a, b := intervals(completed, completions), intervals(failed, completions)
	for len(a) > 0 && len(b) > 0 {
		if a[0].first <= b[0].last && b[0].first <= a[0].last {
			return fmt.Errorf("failedIndexes and completedIndexes overlap at index: %d", max(a[0].first, b[0].first))
		}
		if a[0].first <= b[0].first {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return nil
}

func intervals(text string, completions int32) []interval {
	var out []interval
	for part := range strings.SplitSeq(text, ",") {
		if i, err := parseInterval(part, completions); err == nil {
			out = append(out, i)
		}
	}
	return out
}
