package fairness

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
)

func attributes(user string, groups ...string) *apimachinery.Attributes {
	return &apimachinery.Attributes{
		User: apimachinery.User{Name: user, Groups: groups}, Verb: "list", Version: "v1", Resource: "pods", Namespace: "default",
	}
}

// configured is a Fairness with a level of its own, for everybody, beside the mandatory ones.
func configured(t testing.TB, c Config, shares, queues, length int32) *Fairness {
	t.Helper()
	f, err := New(c)
	require.NoError(t, err)
	l := catchAllLevel()
	l.Name, l.UID = "mine", "level"
	l.Spec.Limited.NominalConcurrencyShares = &shares
	l.Spec.Limited.LimitResponse = flowcontrolv1.LimitResponse{
		Type:    flowcontrolv1.LimitResponseTypeQueue,
		Queuing: &flowcontrolv1.QueuingConfiguration{Queues: queues, HandSize: 1, QueueLengthLimit: length},
	}
	s := schemaOf("mine", 100, flowcontrolv1.FlowDistinguisherMethodByUserType, "everybody")
	s.UID = "schema"
	f.Configure([]*flowcontrolv1.PriorityLevelConfiguration{l}, []*flowcontrolv1.FlowSchema{s})
	return f
}

func enter(t testing.TB, f *Fairness, a *apimachinery.Attributes) *Place {
	t.Helper()
	p, err := f.Enter(t.Context(), &Request{Attributes: a})
	require.NoError(t, err)
	return p
}

func TestBeforeConfigurationTheMandatoryOnesHold(t *testing.T) {
	f, err := New(Config{Seats: 2})
	require.NoError(t, err)
	a, b := enter(t, f, attributes("x", "system:authenticated")), enter(t, f, attributes("nobody matches"))
	_, err = f.Enter(t.Context(), &Request{Attributes: attributes("y", "system:authenticated")})
	require.True(t, apierrors.IsTooManyRequests(err), "%v", err)
	after, ok := apierrors.SuggestsClientDelay(err)
	require.True(t, ok)
	require.Equal(t, 1, after)
	for range 10 {
		defer enter(t, f, attributes("admin", "system:masters")).Leave()
	}
	a.Leave()
	a.Leave()
	b.Leave()
	enter(t, f, attributes("y", "system:authenticated")).Leave()
}

func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := configured(t, Config{Seats: 10}, 5, 1, 2) // half of ten
		var places []*Place
		for range 5 {
			p := enter(t, f, attributes("u", "everybody"))
			require.EqualValues(t, "schema", p.Schema)
			require.EqualValues(t, "level", p.Level)
			places = append(places, p)
		}
		var wg sync.WaitGroup
		got := make(chan error, 2)
		ask := func(ctx context.Context) {
			wg.Go(func() {
				p, err := f.Enter(ctx, &Request{Attributes: attributes("u", "everybody")})
				if err == nil {
					defer p.Leave()
				}
				got <- err
			})
			synctest.Wait()
		}
		ask(t.Context())
		short, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		ask(short)
		_, err := f.Enter(t.Context(), &Request{Attributes: attributes("u", "everybody")})
		require.True(t, apierrors.IsTooManyRequests(err), "the queue is full: %v", err)
		require.Contains(t, dumpOf(f, "dump_requests?includeRequestDetails=1"), "u,")
		require.Regexp(t, `mine, +1, +false, +false, +2, +5, +5, +1, +0, +0`, dumpOf(f, "dump_priority_levels"))
		require.Regexp(t, `mine, +0, +2, +5, +5,`, dumpOf(f, "dump_queues"))
		begin := time.Now()
		require.True(t, apierrors.IsTooManyRequests(<-got))
		require.Equal(t, time.Second, time.Since(begin), "a quarter of its time")
		places[0].Leave()
		require.NoError(t, <-got)
		gone, stop := context.WithCancel(t.Context())
		places[0] = enter(t, f, attributes("u", "everybody"))
		ask(gone)
		stop()
		require.ErrorIs(t, <-got, context.Canceled)
		ask(t.Context())
		begin = time.Now()
		require.True(t, apierrors.IsTooManyRequests(<-got))
		require.Equal(t, 15*time.Second, time.Since(begin))
		for _, p := range places {
			p.Leave()
		}
		wg.Wait()
		require.Regexp(t, `mine, +0, +true,`, dumpOf(f, "dump_priority_levels"))
	})
}

func dumpOf(f *Fairness, what string) string {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest("GET", DebugPath+what, nil))
	return w.Body.String()
}

func TestSeatsHeldAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := configured(t, Config{Seats: 2}, 5, 1, 2) // one seat
		forget := f.Watch("", "pods", "", "")
		for range 39 {
			defer f.Watch("", "pods", "", "")()
		}
		require.Equal(t, 40, f.Watching("", "pods", "default", "x"))
		forget()
		forget()
		require.Equal(t, 39, f.Watching("", "pods", "default", ""))
		require.Equal(t, Work{Seats: 1, Final: 2, Extra: 5 * time.Millisecond}, f.Writes(39, 5))
		require.Equal(t, Work{Seats: 1, Final: 1, Extra: 10 * time.Millisecond}, f.Writes(39, 1), "as much work with fewer seats")
		p, err := f.Enter(t.Context(), &Request{Attributes: attributes("u", "everybody"), Work: func(most int) Work { return f.Writes(39, most) }})
		require.NoError(t, err)
		p.Leave()
		begin := time.Now()
		enter(t, f, attributes("u", "everybody")).Leave()
		require.Equal(t, 10*time.Millisecond, time.Since(begin))
	})
}

func TestReads(t *testing.T) {
	f, err := New(Config{})
	require.NoError(t, err)
	require.Equal(t, 1, f.Reads(0, 5).Seats)
	require.Equal(t, 1, f.Reads(100_000, 5).Seats)
	require.Equal(t, 2, f.Reads(100_001, 5).Seats)
	require.Equal(t, 5, f.Reads(1<<40, 5).Seats)
	require.Equal(t, 10, f.Reads(1<<40, 50).Seats)
}

func TestReconfiguration(t *testing.T) {
	f := configured(t, Config{Seats: 10}, 5, 1, 2)
	p := enter(t, f, attributes("u", "everybody"))
	dangling := schemaOf("dangling", 50, "", "everybody")
	dangling.Spec.PriorityLevelConfiguration.Name = "nowhere"
	f.Configure(nil, []*flowcontrolv1.FlowSchema{dangling})
	require.Regexp(t, `mine, +0, +false, +true,`, dumpOf(f, "dump_priority_levels"), "it goes when the last has left")
	q := enter(t, f, attributes("u", "everybody", "system:authenticated"))
	require.Contains(t, dumpOf(f, "dump_requests"), "catch-all,")
	p.Leave()
	q.Leave()
	f.Adjust()
	require.NotContains(t, dumpOf(f, "dump_priority_levels"), "mine")
}

func TestBorrowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, err := New(Config{Seats: 100})
		require.NoError(t, err)
		var levels []*flowcontrolv1.PriorityLevelConfiguration
		var schemas []*flowcontrolv1.FlowSchema
		for _, name := range []string{"busy", "calm"} {
			n, half := int32(45), int32(50)
			l := catchAllLevel()
			l.Name, l.Spec.Limited.NominalConcurrencyShares, l.Spec.Limited.LendablePercent = name, &n, &half
			l.Spec.Limited.LimitResponse = flowcontrolv1.LimitResponse{
				Type: "Queue", Queuing: &flowcontrolv1.QueuingConfiguration{Queues: 4, HandSize: 1, QueueLengthLimit: 100},
			}
			s := schemaOf(name, 100, "", name)
			s.Spec.PriorityLevelConfiguration.Name = name
			levels, schemas = append(levels, l), append(schemas, s)
		}
		f.Configure(levels, schemas)
		limit := func(name string) int { return f.levels[name].queues.limit }
		require.Equal(t, 36, limit("busy"), "its own, less half of what it may lend")
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range 90 {
			wg.Go(func() {
				p, err := f.Enter(ctx, &Request{Attributes: attributes("u", "busy")})
				if err == nil {
					<-ctx.Done()
					p.Leave()
				}
			})
		}
		synctest.Wait()
		time.Sleep(Period)
		f.Adjust()
		require.Greater(t, limit("busy"), 65)
		require.GreaterOrEqual(t, limit("calm"), 23, "what may not be lent stays")
		cancel()
		wg.Wait()
	})
}

func TestMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	f := configured(t, Config{Seats: 2, Registerer: r}, 5, 1, 1)
	defer enter(t, f, attributes("u", "everybody")).Leave()
	all, err := r.Gather()
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, m := range all {
		seen[strings.TrimPrefix(m.GetName(), prefix)] = true
	}
	for _, name := range []string{
		"dispatched_requests_total", "rejected_requests_total", "current_executing_requests", "current_inqueue_requests",
		"nominal_limit_seats", "current_limit_seats", "request_wait_duration_seconds", "request_execution_seconds", "work_estimated_seats",
		"seat_fair_frac", "demand_seats_smoothed",
	} {
		require.True(t, seen[name], name)
	}
	_, err = New(Config{Registerer: r})
	require.Error(t, err, "one a registry")
}

func TestConfigIsJudged(t *testing.T) {
	for _, c := range []Config{{Seats: -1}, {Wait: -1}, {Estimate: Estimate{Bytes: -1}}} {
		_, err := New(c)
		require.Error(t, err)
	}
}

func BenchmarkEnter(b *testing.B) {
	f := configured(b, Config{Registerer: prometheus.NewRegistry()}, 100, 64, 50)
	a := attributes("u", "system:authenticated", "everybody")
	b.ReportAllocs()
	for b.Loop() {
		p, err := f.Enter(b.Context(), &Request{Attributes: a})
		if err != nil {
			b.Fatal(err)
		}
		p.Leave()
	}
}
