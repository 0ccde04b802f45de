//go:build linux

package netplug

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

var errExit = errors.New("the process ends here")

// exitAt has the n-th step from now end the process, as it were; steps counts those that were passed.
func exitAt(n *Network, at int) (steps *[]string) {
	steps = new([]string)
	n.hook = func(step string) error {
		*steps = append(*steps, step)
		if len(*steps) == at {
			return errExit
		}
		return nil
	}
	return steps
}

// crash forgets a Network as the end of its process does: nothing is tidied up.
func crash(n *Network) {
	n.sweep.Lock()
	defer n.sweep.Unlock()
	n.shut = true
	n.stopReaper()
	n.release()
}

// The process ends at each step of Attach and of Detach; the next one keeps nothing, or the sandbox, and nothing is
// left of it or nothing is missing.
func TestExitAtEveryStep(t *testing.T) {
	inModes(t, func(t *testing.T, mode Mode) {
		host, outside := newHost(t)
		serve(t, outside, 80)
		c := configOf(host, mode)
		first := start(t, c)
		idle := state(t, host)
		require.NoError(t, first.Close())
		do := map[string]func(n *Network, s *space) error{
			"attach": func(n *Network, s *space) error {
				_, err := n.Attach(t.Context(), podWith(tcp(8080, 80)), "a", s.path())
				return err
			},
			"detach": func(n *Network, s *space) error {
				if _, err := n.Attach(t.Context(), podWith(tcp(8080, 80)), "a", s.path()); err != nil {
					return err
				}
				return n.Detach(t.Context(), "a")
			},
			"keep": func(n *Network, s *space) error {
				if _, err := n.Attach(t.Context(), podWith(tcp(8080, 80)), "a", s.path()); err != nil {
					return err
				}
				return n.Keep(t.Context(), nil)
			},
		}
		for name, act := range do {
			t.Run(name, func(t *testing.T) {
				for at := 1; ; at++ {
					if passed := exitOnce(t, c, host, at, act, idle); passed {
						require.Greater(t, at, 4)
						return
					}
				}
			})
		}
	})
}

// exitOnce says whether there was no such step.
func exitOnce(t *testing.T, c Config, host *space, at int, act func(*Network, *space) error, idle []string) (passed bool) {
	n, err := New(c)
	require.NoError(t, err)
	exitAt(n, at)
	s := newSpace(t)
	defer s.end()
	err = act(n, s)
	passed = err == nil
	if !passed {
		require.ErrorIs(t, err, errExit)
	}
	crash(n)
	if at%2 == 0 { // the next process goes on with the sandbox
		n, err = New(c)
		require.NoError(t, err)
		require.NoError(t, n.Keep(t.Context(), []string{"a"}))
		_, err = n.Attach(t.Context(), podWith(tcp(8080, 80)), "a", s.path())
		require.NoError(t, err)
		sees(t, s, outsideAddr+":80", hostAddr)
		crash(n)
	}
	n, err = New(c)
	require.NoError(t, err)
	require.NoError(t, n.Keep(t.Context(), nil))
	require.Equal(t, idle, state(t, host))
	require.Empty(t, n.pool.owner)
	require.Empty(t, n.ports)
	left, err := n.rules.strays(nil)
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoError(t, n.Close())
	return passed
}

// Random attachments, detachments, ends of namespaces and exits at any step: no two living sandboxes ever have the
// same address, nor a sandbox another address than before.
func TestRandomCrashes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		host := newSpace(t)
		defer host.end()
		c := Config{Host: host.path(), Ranges: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/28")}}
		n, err := New(c)
		require.NoError(t, err)
		defer func() { crash(n) }()
		have := map[string]netip.Addr{}
		spaces := map[string]*space{}
		ids := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
		restart := func() {
			crash(n)
			n, err = New(c)
			require.NoError(t, err)
			keep := []string{}
			for id := range have {
				keep = append(keep, id)
			}
			require.NoError(t, n.Keep(t.Context(), keep))
		}
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			id := ids.Draw(rt, "id")
			exitAt(n, rapid.IntRange(0, 12).Draw(rt, "exit"))
			switch rapid.IntRange(0, 2).Draw(rt, "what") {
			case 0, 1:
				if spaces[id] == nil {
					spaces[id] = newSpace(t)
				}
				addrs, err := n.Attach(t.Context(), &corev1.Pod{}, id, spaces[id].path())
				if err != nil {
					require.ErrorIs(t, err, errExit)
					restart()
					continue
				}
				if old, ok := have[id]; ok {
					require.Equal(t, old, addrs[0])
				}
				for other, a := range have {
					require.True(t, other == id || a != addrs[0], "%s and %s have %s", id, other, a)
				}
				have[id] = addrs[0]
			case 2:
				delete(have, id)
				err := n.Detach(t.Context(), id)
				if s := spaces[id]; s != nil {
					s.end()
					delete(spaces, id)
				}
				if err != nil {
					require.ErrorIs(t, err, errExit)
					restart()
				}
			}
		}
		for _, s := range spaces {
			s.end()
		}
	})
}

func BenchmarkPool(b *testing.B) {
	p := newPool()
	p.reset([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, nil)
	n := 0
	for b.Loop() {
		id := fmt.Sprint(n)
		a, err := p.take(id)
		if err != nil {
			b.Fatal(err)
		}
		p.free(a, id)
		n++
	}
}
