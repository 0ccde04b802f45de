package schedulingtest_test

import (
	"math/rand/v2"
	"testing"

	"github.com/bedplate/bedplate/scheduling"
	"github.com/bedplate/bedplate/scheduling/schedulingtest"
)

// A plugin's test hands the suite the plugin, and hosts and items that come close to what it judges by.
func Example() {
	fits := func(j *job, m *machine, _ []*job) scheduling.Verdict {
		if j.Slots > m.Slots {
			return scheduling.Verdict{No: "too small"}
		}
		return scheduling.Verdict{}
	}
	_ = func(t *testing.T) {
		schedulingtest.Run(t, schedulingtest.Subject[*job, machine]{
			New:  func() scheduling.Plugin[*job, machine] { return scheduling.PerHost("fits", fits, nil) },
			Host: func(r *rand.Rand, _ string) *machine { return &machine{Slots: r.Int64N(8)} },
			Item: func(r *rand.Rand, name string) *job { return &job{Name: name, Slots: r.Int64N(4)} },
		})
	}
	// Output:
}
