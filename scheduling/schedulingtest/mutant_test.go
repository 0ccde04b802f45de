package schedulingtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/bedplate/bedplate/scheduling"
)

// mutant is a plugin that counts the items on a host, with one bug of choice.
type mutant struct {
	bug   string
	limit scheduling.Column[int]
	on    scheduling.Column[int]
	total int
}

func (m *mutant) Name() string { return "mutant" }

func (m *mutant) Host(n int, h *int) {
	if h == nil {
		if m.bug != "keeps the limit" {
			*m.limit.At(n) = 0
		}
		return
	}
	if m.bug == "keeps the limit" {
		*m.limit.At(n) += *h
		return
	}
	*m.limit.At(n) = *h
}

func (m *mutant) Placed(n int, _ string, by int) {
	m.total += by
	if m.bug != "never takes off" || by > 0 {
		*m.on.At(n) += by
	}
}

func (m *mutant) full(n int) bool {
	on := m.on.Get(n)
	if m.bug == "looks elsewhere" {
		on = m.total / 4
	}
	return on >= m.limit.Get(n)
}

func (m *mutant) Filter(_ context.Context, _ string, hosts scheduling.Hosts) error {
	left := hosts.Len()
	for n := range hosts.All() {
		if m.full(n) {
			hosts.Remove(n)
		}
	}
	if m.bug == "compares hosts" && left > 3 {
		for n := range hosts.All() {
			hosts.Remove(n)
			break
		}
	}
	if m.bug == "sets bits" {
		hosts.Add(60)
	}
	return nil
}

func (m *mutant) Explain(_ string, n int) []string {
	if m.full(n) && m.bug != "says nothing" {
		return []string{"full"}
	}
	return nil
}

func (m *mutant) Score(_ context.Context, item string, hosts scheduling.Hosts, score []int64) error {
	for n := range hosts.All() {
		score[n] = int64(m.on.Get(n))
		switch m.bug {
		case "scores too high":
			score[n] = 1000
		case "lies about class":
			score[n] = int64(len(item) + int(item[len(item)-1]))
		}
	}
	return nil
}

func (m *mutant) Class(key []byte, _ string) ([]byte, bool) { return key, true }

// TestMutants puts known bugs in and expects the suite to see each.
func TestMutants(t *testing.T) {
	for bug, want := range map[string]string{
		"":                 "",
		"keeps the limit":  "rebuilt from scratch",
		"never takes off":  "rebuilt from scratch",
		"looks elsewhere":  "not local",
		"compares hosts":   "Explain says",
		"sets bits":        "set 1 bits",
		"says nothing":     "Explain says",
		"scores too high":  "is not between",
		"lies about class": "not local",
	} {
		t.Run(bug, func(t *testing.T) {
			got := caught(bug)
			if want == "" && got != "" || !strings.Contains(got, want) {
				t.Errorf("suite says %q, want something with %q", got, want)
			}
		})
	}
}

// caught returns what the suite says of a bug, over a few seeds.
func caught(bug string) (said string) {
	s := Subject[string, int]{
		New: func() scheduling.Plugin[string, int] {
			m := &mutant{bug: bug}
			return scheduling.Plugin[string, int]{Columns: m, Filter: m, Score: m}
		},
		Host: func(r *rand.Rand, _ string) *int { n := r.IntN(4); return &n },
		Item: func(_ *rand.Rand, name string) string { return name },
	}
	for seed := range uint64(10) {
		rec := &recorder{}
		done := make(chan struct{})
		go func() {
			defer close(done)
			live(rec, s, seed, 60)
		}()
		<-done
		if rec.said != "" {
			return rec.said
		}
	}
	return ""
}

// recorder is a tb that keeps what a failure says.
type recorder struct{ said string }

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
