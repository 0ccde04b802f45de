package scheduling_test

import (
	"context"
	"fmt"

	"github.com/bedplate/bedplate/scheduling"
)

type Machine struct{ GPUs int }

type Job struct {
	Name    string
	GPUs    int
	Machine string // where it runs; "" while it waits
}

// A scheduler of jobs onto machines, with one rule in the small form: a job needs
// free GPUs, and the fuller machine is better, so that big jobs find room.
func Example() {
	pack := func(j *Job, m *Machine, on []*Job) scheduling.Verdict {
		free := m.GPUs
		for _, other := range on {
			free -= other.GPUs
		}
		if free < j.GPUs {
			return scheduling.Verdict{No: fmt.Sprintf("only %d GPUs free", free)}
		}
		return scheduling.Verdict{Score: int64(scheduling.MaxScore - free)}
	}
	done := make(chan struct{}, 4)
	config := scheduling.SchedulerConfig[*Job, Machine]{
		Bind: func(_ context.Context, j *Job, machine string) error {
			fmt.Printf("%s runs on %s\n", j.Name, machine)
			return nil
		},
		Bound:    func(*Job, string) { done <- struct{}{} },
		Failed:   func(j *Job, err error) { fmt.Printf("%s waits: %v\n", j.Name, err); done <- struct{}{} },
		Bindings: 1,
	}
	config.Key = func(j *Job) string { return j.Name }
	config.HostOf = func(j *Job) string { return j.Machine }
	config.Plugins = []scheduling.Plugin[*Job, Machine]{scheduling.PerHost("gpus", pack, nil)}

	s, err := scheduling.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	s.SetHost("big", &Machine{GPUs: 8})
	s.SetHost("small", &Machine{GPUs: 2})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	for _, j := range []*Job{{Name: "one", GPUs: 1}, {Name: "two", GPUs: 7}, {Name: "three", GPUs: 1}, {Name: "four", GPUs: 4}} {
		if err := s.SetItem(j); err != nil {
			fmt.Println(err)
		}
		<-done
	}
	stop()
	<-ended
	// Output:
	// one runs on small
	// two runs on big
	// three runs on big
	// four waits: 0/2 hosts fit: 2 refused by gpus
}
