//go:build linux

package soak

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// counts is what happened.
type counts struct {
	reads, commits, refused, unanswered, failed int
	lost, ordered, revisions                    int
	watchCounts
}

func (c *counts) count(o *op) {
	switch {
	case o.outcome == nothing:
		c.failed++
	case o.kind != "commit":
		c.reads++
	case o.outcome == done:
		c.commits++
	case o.outcome == refused:
		c.refused++
	default:
		c.unanswered++
	}
}

func (c *counts) add(o counts) {
	c.reads += o.reads
	c.commits += o.commits
	c.refused += o.refused
	c.unanswered += o.unanswered
	c.failed += o.failed
	c.lost += o.lost
	c.ordered += o.ordered
	c.revisions += o.revisions
	c.watchCounts.add(o.watchCounts)
}

// Report is what a soak did and found.
type Report struct {
	Seed        uint64
	Rounds      int
	Took        time.Duration
	Faults      map[string]int
	Compactions int
	Problems    []string // what was wrong; empty if all is well

	c counts
}

// Lost is how many acknowledged writes are missing.
func (r *Report) Lost() int { return r.c.lost }

// Operations is how many operations had an answer.
func (r *Report) Operations() int { return r.c.reads + r.c.commits + r.c.refused }

// String is the report as text.
func (r *Report) String() string {
	var b strings.Builder
	c := r.c
	fmt.Fprintf(&b, "seed %d, %d rounds in %s\n", r.Seed, r.Rounds, r.Took.Round(time.Second))
	fmt.Fprintf(&b, "operations  %d answered: %d reads, %d commits, %d conflicts; %d commits without an answer, %d others failed\n",
		r.Operations(), c.reads, c.commits, c.refused, c.unanswered, c.failed)
	fmt.Fprintf(&b, "history     %d revisions, %d operations on keys ordered by porcupine\n", c.revisions, c.ordered)
	fmt.Fprintf(&b, "watches     %d events, %d bookmarks, %d lists, %d resumed, %d too old\n",
		c.events, c.bookmarks, c.lists, c.resumed, c.tooOld)
	total := 0
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		total += r.Faults[name]
		faults = append(faults, fmt.Sprintf("%d %s", r.Faults[name], name))
	}
	fmt.Fprintf(&b, "faults      %d: %s; %d compactions\n", total, strings.Join(faults, ", "), r.Compactions)
	fmt.Fprintf(&b, "acknowledged writes lost: %d; problems: %d", c.lost, len(r.Problems))
	for _, p := range r.Problems {
		b.WriteString("\n  " + p)
	}
	return b.String()
}
