package agent

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func probe(period, failures, successes int32) *corev1.Probe {
	return &corev1.Probe{PeriodSeconds: period, TimeoutSeconds: 1, FailureThreshold: failures, SuccessThreshold: successes}
}

var errSick = errors.New("sick")

// probing runs a prober in virtual time. answer is asked with the seconds since the container's start.
func probing(t *testing.T, c *corev1.Container, answer func(p *corev1.Probe, at int) error, look func(at func(seconds int) verdict)) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		turns := 0
		p := &prober{c: c, begun: begun, turned: func() { turns++ }}
		p.ask = func(_ context.Context, probe *corev1.Probe) error {
			return answer(probe, int(time.Since(begun)/time.Second))
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.run(ctx) }()
		look(func(seconds int) verdict {
			time.Sleep(time.Until(begun.Add(time.Duration(seconds)*time.Second + time.Millisecond)))
			synctest.Wait()
			return p.now()
		})
		cancel()
		<-ended
		require.Less(t, turns, 10, "only turns are told")
	})
}

func TestProbesInOrder(t *testing.T) {
	c := &corev1.Container{StartupProbe: probe(10, 3, 1), ReadinessProbe: probe(5, 2, 2), LivenessProbe: probe(7, 1, 1)}
	c.StartupProbe.InitialDelaySeconds = 4
	probing(t, c, func(p *corev1.Probe, at int) error {
		switch p {
		case c.StartupProbe:
			if at < 24 {
				return errSick
			}
		case c.ReadinessProbe:
			require.GreaterOrEqual(t, at, 24, "not before it has started")
			if at >= 60 {
				return errSick
			}
		}
		return nil
	}, func(at func(int) verdict) {
		require.Equal(t, verdict{}, at(23))
		require.Equal(t, verdict{started: true}, at(24))
		require.False(t, at(28).ready)
		require.True(t, at(29).ready, "two in a row")
		require.True(t, at(60).ready)
		require.Equal(t, verdict{started: true}, at(70), "two failures in a row")
	})
}

// TestReadySoon: a container that listens just after its start is ready then, not a period later; one that needs longer
// is asked in its period after a few tries.
func TestReadySoon(t *testing.T) {
	for _, needs := range []time.Duration{0, 50 * time.Millisecond, 700 * time.Millisecond, 25 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			begun, asked := time.Now(), 0
			ready := make(chan time.Duration, 1)
			p := &prober{c: &corev1.Container{ReadinessProbe: probe(10, 1, 1)}, begun: begun}
			p.turned = func() {
				if p.now().ready {
					ready <- time.Since(begun)
				}
			}
			p.ask = func(context.Context, *corev1.Probe) error {
				if asked++; time.Since(begun) < needs {
					return errSick
				}
				return nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { p.run(ctx) })
			took := <-ready
			cancel()
			wg.Wait()
			require.LessOrEqual(t, took, min(2*needs+firstAsk, needs+10*time.Second))
			require.LessOrEqual(t, asked, 14)
		})
	}
}

func TestStartupFails(t *testing.T) {
	c := &corev1.Container{StartupProbe: probe(10, 3, 1), LivenessProbe: probe(1, 1, 1)}
	probing(t, c, func(p *corev1.Probe, _ int) error { return errSick }, func(at func(int) verdict) {
		require.Nil(t, at(19).failed)
		require.Equal(t, verdict{failed: c.StartupProbe, why: "Startup probe failed: sick"}, at(20))
	})
}

func TestLivenessFails(t *testing.T) {
	c := &corev1.Container{LivenessProbe: probe(10, 2, 1)}
	c.LivenessProbe.InitialDelaySeconds = 15
	probing(t, c, func(_ *corev1.Probe, at int) error {
		if at == 25 || at >= 45 { // once is not enough
			return errSick
		}
		return nil
	}, func(at func(int) verdict) {
		require.Equal(t, verdict{started: true, ready: true}, at(54))
		require.Equal(t, c.LivenessProbe, at(55).failed)
		require.True(t, at(55).ready)
	})
}

// TestProbeTimeout: an answer that takes longer than timeoutSeconds is none.
func TestProbeTimeout(t *testing.T) {
	c := &corev1.Container{ReadinessProbe: probe(10, 1, 1)}
	synctest.Test(t, func(t *testing.T) {
		p := &prober{c: c, begun: time.Now(), turned: func() {}, verdict: verdict{started: true, ready: true}}
		p.ask = func(ctx context.Context, _ *corev1.Probe) error { <-ctx.Done(); return ctx.Err() }
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.run(ctx) }()
		time.Sleep(999 * time.Millisecond)
		require.True(t, p.now().ready)
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		require.False(t, p.now().ready)
		cancel()
		<-ended
	})
}
