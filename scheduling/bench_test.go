package scheduling

import (
	"context"
	"fmt"
	"runtime"
	"testing"
)

const benchHosts = 5000

// threshold is the smallest honest column plugin: one array, one comparison.
type threshold struct {
	name string
	free Column[int64]
	skew int64
}

func (p *threshold) Name() string { return p.name }
func (p *threshold) Host(n int, b *box) {
	if b != nil {
		*p.free.At(n) = b.Slots + p.skew
	}
}
func (p *threshold) Placed(n int, l *load, by int) { *p.free.At(n) -= int64(by) * l.Size }
func (p *threshold) Filter(_ context.Context, l *load, hosts Hosts) error {
	hosts.KeepAtLeast(p.free, l.Size)
	return nil
}
func (p *threshold) Score(_ context.Context, l *load, hosts Hosts, score []int64) error {
	for at := range hosts.Blocks() {
		s, free := Block(score, at), Block(p.free, at)
		for k := range s {
			s[k] = free[k] & 63
		}
	}
	return nil
}

// localThreshold is the same, and says that it is local.
type localThreshold struct{ *threshold }

func (localThreshold) Class(key []byte, l *load) ([]byte, bool) {
	return append(key, byte(l.Size)), true
}

// benchConfig has 8 filters and 4 scores.
func benchConfig(local bool) Config[*load, box] {
	c := Config[*load, box]{Key: func(l *load) string { return l.Name }}
	for i := range 8 {
		p := &threshold{name: fmt.Sprint("p", i), skew: int64(i)}
		plugin := Plugin[*load, box]{Columns: p, Filter: p}
		if i < 4 {
			plugin.Score = p
		}
		if local {
			plugin.Filter = localThreshold{p}
			if i < 4 {
				plugin.Score = localThreshold{p}
			}
		}
		c.Plugins = append(c.Plugins, plugin)
	}
	return c
}

func benchEngine(b *testing.B, local bool) *Engine[*load, box] {
	e, err := NewEngine(benchConfig(local))
	if err != nil {
		b.Fatal(err)
	}
	for i := range benchHosts {
		e.SetHost(fmt.Sprint("box-", i), &box{Slots: 1 << 40})
	}
	return e
}

func perHostMetric(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchHosts, "ns/host")
	b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "procs")
}

// BenchmarkColumns: 5,000 hosts, 8 filters, 4 scores, every host asked about.
func BenchmarkColumns(b *testing.B) {
	e := benchEngine(b, false)
	l := &load{Name: "x", Size: 1}
	for b.Loop() {
		if _, err := e.Schedule(context.Background(), l); err != nil {
			b.Fatal(err)
		}
	}
	perHostMetric(b)
}

// perHostCall is what a plugin with one call per host looks like at its least.
type perHostCall interface {
	filter(l *load, n int) bool
	score(l *load, n int) int64
}

func (p *threshold) filter(l *load, n int) bool { return p.free[n] >= l.Size }
func (p *threshold) score(_ *load, n int) int64 { return p.free[n] & 63 }

// BenchmarkFloorPerHostCalls is the same work by interface calls per host, and
// nothing else: what the columns are measured against.
func BenchmarkFloorPerHostCalls(b *testing.B) {
	var plugins []perHostCall
	for i := range 8 {
		p := &threshold{skew: int64(i)}
		for n := range benchHosts {
			*p.free.At(n) = 1 << 40
		}
		plugins = append(plugins, p)
	}
	l := &load{Size: 1}
	for b.Loop() {
		best, at := int64(-1), -1
	hosts:
		for n := range benchHosts {
			for _, p := range plugins {
				if !p.filter(l, n) {
					continue hosts
				}
			}
			var sum int64
			for _, p := range plugins[:4] {
				sum += p.score(l, n)
			}
			if sum > best {
				best, at = sum, n
			}
		}
		if at < 0 {
			b.Fatal("no host")
		}
	}
	perHostMetric(b)
}

// BenchmarkPerHostAdapter is the same work by plugins in the small form.
func BenchmarkPerHostAdapter(b *testing.B) {
	c := Config[*load, box]{Key: func(l *load) string { return l.Name }}
	for i := range 8 {
		c.Plugins = append(c.Plugins, PerHost(fmt.Sprint("p", i), func(l *load, h *box, _ []*load) Verdict {
			if h.Slots < l.Size {
				return Verdict{No: "full"}
			}
			return Verdict{Score: h.Slots & 63}
		}, nil))
		if i >= 4 {
			c.Plugins[i].Score = nil
		}
	}
	e, err := NewEngine(c)
	if err != nil {
		b.Fatal(err)
	}
	for i := range benchHosts {
		e.SetHost(fmt.Sprint("box-", i), &box{Slots: 1 << 40})
	}
	l := &load{Name: "x", Size: 1}
	for b.Loop() {
		if _, err := e.Schedule(context.Background(), l); err != nil {
			b.Fatal(err)
		}
	}
	perHostMetric(b)
}

// BenchmarkIdentical schedules and places items of one class, one after another.
func BenchmarkIdentical(b *testing.B) {
	for _, local := range []bool{true, false} {
		b.Run(fmt.Sprintf("local=%v", local), func(b *testing.B) {
			e := benchEngine(b, local)
			for i := 0; b.Loop(); i++ {
				l := &load{Name: fmt.Sprint(i), Size: 1}
				host, err := e.Schedule(context.Background(), l)
				if err != nil {
					b.Fatal(err)
				}
				e.Place(l, host, true)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
			b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "procs")
		})
	}
}
