package schedulingtest_test

import (
	"math/rand/v2"
	"testing"

	"github.com/bedplate/bedplate/scheduling"
	"github.com/bedplate/bedplate/scheduling/schedulingtest"
)

type machine struct{ Slots int64 }
type job struct {
	Name  string
	Slots int64
}

// The adapter for one function per host passes its own suite, Local and not.
func TestPerHost(t *testing.T) {
	judge := func(j *job, m *machine, on []*job) scheduling.Verdict {
		free := m.Slots
		for _, o := range on {
			free -= o.Slots
		}
		if j.Slots > free {
			return scheduling.Verdict{No: "no free slots"}
		}
		return scheduling.Verdict{Score: max(0, min(scheduling.MaxScore, free))}
	}
	class := func(key []byte, j *job) []byte { return append(key, byte(j.Slots)) }
	for name, class := range map[string]func([]byte, *job) []byte{"local": class, "not local": nil} {
		t.Run(name, func(t *testing.T) {
			schedulingtest.Run(t, schedulingtest.Subject[*job, machine]{
				New:  func() scheduling.Plugin[*job, machine] { return scheduling.PerHost("slots", judge, class) },
				Host: func(r *rand.Rand, _ string) *machine { return &machine{Slots: r.Int64N(8)} },
				Item: func(r *rand.Rand, name string) *job { return &job{Name: name, Slots: r.Int64N(4)} },
			})
		})
	}
}
