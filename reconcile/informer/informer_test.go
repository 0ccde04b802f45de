package informer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/client/kubeconfig"
	"github.com/bedplate/bedplate/reconcile/informer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type widgets = informer.Informer[*clienttest.Widget]

// kinds of informers, all of which pass the same tests
var implementations = map[string]func(t testing.TB, env *clienttest.Env) *widgets{
	"view": func(t testing.TB, env *clienttest.Env) *widgets {
		i, err := informer.Of(env.Server, client.For[*clienttest.Widget](env.Client), nil)
		require.NoError(t, err)
		return i
	},
	"list and watch": func(t testing.TB, env *clienttest.Env) *widgets {
		i, err := informer.New(client.For[*clienttest.Widget](env.Client), informer.Config[*clienttest.Widget]{Page: 3})
		require.NoError(t, err)
		return i
	},
	"stream": func(t testing.TB, env *clienttest.Env) *widgets {
		i, err := informer.New(client.For[*clienttest.Widget](env.Client), informer.Config[*clienttest.Widget]{Stream: true})
		require.NoError(t, err)
		return i
	},
	"HTTPS": func(t testing.TB, env *clienttest.Env) *widgets {
		conn, err := kubeconfig.Parse(env.Kubeconfig)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		c := client.New(conn, env.Client.Registry())
		i, err := informer.New(client.For[*clienttest.Widget](c), informer.Config[*clienttest.Widget]{})
		require.NoError(t, err)
		return i
	},
}

func each(t *testing.T, test func(t *testing.T, env *clienttest.Env, i *widgets)) {
	for name, open := range implementations {
		t.Run(name, func(t *testing.T) {
			env := clienttest.Start(t, clienttest.Config{
				Resources: []apimachinery.Resource{clienttest.Widgets()}, HTTPS: name == "HTTPS",
			})
			test(t, env, open(t, env))
		})
	}
}

func run(t testing.TB, i *widgets) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- i.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

func widget(namespace, name string, size int) *clienttest.Widget {
	w := &clienttest.Widget{Spec: clienttest.WidgetSpec{Size: size}}
	w.Namespace, w.Name = namespace, name
	return w
}

func create(t testing.TB, env *clienttest.Env, w *clienttest.Widget) *clienttest.Widget {
	w, err := client.For[*clienttest.Widget](env.Client).Create(context.Background(), w)
	require.NoError(t, err)
	return w
}

// waitFor waits until the informer shows an object's state.
func waitFor(t testing.TB, i *widgets, w *clienttest.Widget) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, i.WaitFor(ctx, informer.RevOf(w.ResourceVersion)))
}

func TestReads(t *testing.T) {
	each(t, func(t *testing.T, env *clienttest.Env, i *widgets) {
		for n := range 7 {
			create(t, env, widget("a", fmt.Sprint("w", n), n%2))
		}
		require.NoError(t, i.AddIndex("size", func(w *clienttest.Widget) []string { return []string{fmt.Sprint(w.Spec.Size)} }))
		require.Error(t, i.AddIndex("size", nil))
		_, ok := i.Get("a/w0")
		require.False(t, ok)
		run(t, i)
		<-i.Synced()
		last := create(t, env, widget("b", "x", 1))
		waitFor(t, i, last)

		got, ok := i.Get("b/x")
		require.True(t, ok)
		require.Equal(t, last, got)
		got.Spec.Size = 99
		view, _ := i.View("b/x")
		require.Equal(t, last, view, "Get's object is the caller's own")
		_, ok = i.Get("b/y")
		require.False(t, ok)

		keys := func(seq func(func(*clienttest.Widget) bool)) (keys []string) {
			for w := range seq {
				keys = append(keys, apimachinery.KeyOf(w))
			}
			return keys
		}
		require.Equal(t, []string{"a/w0", "a/w1", "a/w2", "a/w3", "a/w4", "a/w5", "a/w6"}, keys(i.List("a")))
		require.Len(t, keys(i.List("")), 8)
		require.Equal(t, []string{"a/w1", "a/w3", "a/w5", "b/x"}, keys(i.ByIndex("size", "1")))
		require.Empty(t, keys(i.ByIndex("size", "7")))
		require.Empty(t, keys(i.ByIndex("other", "7")))
		require.Equal(t, 8, i.Len())
		require.ErrorContains(t, i.Run(t.Context()), "runs already")
	})
}

// mirror keeps what changes say.
type mirror struct {
	t    testing.TB
	mu   sync.Mutex
	have map[string]*clienttest.Widget
}

func (m *mirror) change(c informer.Change[*clienttest.Widget]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.have[c.Key]
	switch {
	case c.Added:
		require.Nil(m.t, old, "added twice")
		require.Nil(m.t, c.Old)
		m.have[c.Key] = c.New
	case c.Deleted:
		require.NotNil(m.t, old, "deleted twice")
		require.Equal(m.t, old.UID, c.Old.UID)
		delete(m.have, c.Key)
	default:
		require.NotNil(m.t, old)
		require.Equal(m.t, old.UID, c.New.UID)
		require.Equal(m.t, old.ResourceVersion, c.Old.ResourceVersion, "a change was lost")
		m.have[c.Key] = c.New
	}
}

func (m *mirror) versions() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]string{}
	for k, w := range m.have {
		out[k] = w.ResourceVersion
	}
	return out
}

// churn changes widgets at random, n times, and returns the newest revision.
func churn(t testing.TB, env *clienttest.Env, r *rand.Rand, n int) int64 {
	ctx, door := context.Background(), client.For[*clienttest.Widget](env.Client)
	for range n {
		name := fmt.Sprint("w", r.IntN(12))
		var err error
		switch r.IntN(4) {
		case 0, 1:
			_, err = door.Create(ctx, widget("a", name, r.IntN(3)))
		case 2:
			_, err = door.Modify(ctx, "a", name, func(w *clienttest.Widget) error {
				w.Spec.Size = r.IntN(3)
				return nil
			})
		case 3:
			err = door.Delete(ctx, "a", name)
		}
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsAlreadyExists(err) {
			require.NoError(t, err)
		}
	}
	l, err := door.List(ctx)
	require.NoError(t, err)
	return informer.RevOf(l.ResourceVersion)
}

func stored(t testing.TB, env *clienttest.Env) map[string]string {
	l, err := client.For[*clienttest.Widget](env.Client).List(context.Background())
	require.NoError(t, err)
	out := map[string]string{}
	for _, w := range l.Items {
		out[apimachinery.KeyOf(w)] = w.ResourceVersion
	}
	return out
}

func held(i *widgets) map[string]string {
	out := map[string]string{}
	for w := range i.List("") {
		out[apimachinery.KeyOf(w)] = w.ResourceVersion
	}
	return out
}

func TestNoChangeIsLost(t *testing.T) {
	each(t, func(t *testing.T, env *clienttest.Env, i *widgets) {
		r := rand.New(rand.NewPCG(1, 2))
		churn(t, env, r, 50)
		early := &mirror{t: t, have: map[string]*clienttest.Widget{}}
		i.Handle(informer.Handler[*clienttest.Widget]{Change: early.change})
		run(t, i)
		churn(t, env, r, 100)
		late := &mirror{t: t, have: map[string]*clienttest.Widget{}}
		stop := i.Handle(informer.Handler[*clienttest.Widget]{Change: late.change})
		slow := i.Subscribe()
		defer slow.Close()
		merged := &mirror{t: t, have: map[string]*clienttest.Widget{}}
		for range 10 {
			churn(t, env, r, 20)
			for range r.IntN(5) {
				if c, ok := slow.Take(); ok {
					merged.change(c)
				}
			}
		}
		create(t, env, widget("b", "last", 1))
		rev := churn(t, env, r, 0)
		create(t, env, widget("b", "beyond", 1)) // moves the cache past rev where it has no bookmarks
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.NoError(t, i.WaitFor(ctx, rev+1))
		for c, ok := slow.Take(); ok; c, ok = slow.Take() {
			merged.change(c)
		}
		want := stored(t, env)
		require.Equal(t, want, held(i))
		require.Equal(t, want, early.versions())
		require.Equal(t, want, late.versions())
		require.Equal(t, want, merged.versions())
		require.GreaterOrEqual(t, slow.Rev(), rev)

		stop()
		waitFor(t, i, create(t, env, widget("b", "more", 1)))
		require.Equal(t, want, late.versions())
	})
}

func TestWaitForEndsWithItsContext(t *testing.T) {
	each(t, func(t *testing.T, env *clienttest.Env, i *widgets) {
		run(t, i)
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		go cancel(enough)
		require.ErrorIs(t, i.WaitFor(ctx, 1_000_000), enough)
	})
}

// TestMetadata follows the metadata alone, both ways.
func TestMetadata(t *testing.T) {
	env := clienttest.Start(t, clienttest.Config{Resources: []apimachinery.Resource{clienttest.Widgets()}})
	w := create(t, env, widget("a", "one", 1))
	door := client.Metadata(env.Client, schema.GroupVersionResource{Group: "test.example.org", Version: "v1", Resource: "widgets"}, true)
	view, err := informer.Of(env.Server, door, nil)
	require.NoError(t, err)
	remote, err := informer.New(door, informer.Config[*metav1.PartialObjectMetadata]{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, i := range []*informer.Informer[*metav1.PartialObjectMetadata]{view, remote} {
		wg.Go(func() { i.Run(ctx) })
		<-i.Synced()
		got, ok := i.Get("a/one")
		require.True(t, ok)
		require.Equal(t, w.ObjectMeta, got.ObjectMeta)
		require.Equal(t, "PartialObjectMetadata", got.Kind)
	}
}

// faulty is a Doer whose watches break and whose history is forgotten now and then.
type faulty struct {
	apimachinery.Doer
	mu    sync.Mutex
	r     *rand.Rand
	count map[string]int
}

func (f *faulty) Do(ctx context.Context, q *apimachinery.Request) (*apimachinery.Response, error) {
	f.mu.Lock()
	dice, cut := f.r.IntN(6), f.r.IntN(20_000)
	f.count[q.Verb]++
	f.mu.Unlock()
	switch {
	case dice == 0:
		return nil, errors.New("the connection broke")
	case dice == 1 && q.Verb == apimachinery.VerbWatch:
		return nil, apierrors.NewResourceExpired("forgotten")
	}
	resp, err := f.Doer.Do(ctx, q)
	if err != nil || q.Verb != apimachinery.VerbWatch {
		return resp, err
	}
	if dice == 2 {
		resp.Stream = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(resp.Stream, 1000), bytes.NewReader([]byte("\n"+`{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410}}`))), resp.Stream}
		return resp, nil
	}
	resp.Stream = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Stream, int64(cut)), resp.Stream}
	return resp, nil
}

func (f *faulty) watches() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[apimachinery.VerbWatch]
}

// TestFaults breaks watches in the middle of events and forgets history: what handlers know stays right.
func TestFaults(t *testing.T) {
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprint("stream=", stream), func(t *testing.T) {
			env := clienttest.Start(t, clienttest.Config{Resources: []apimachinery.Resource{clienttest.Widgets()}})
			seed := rand.Uint64()
			t.Log("seed", seed)
			f := &faulty{Doer: env.Client.Doer(), r: rand.New(rand.NewPCG(seed, 0)), count: map[string]int{}}
			i, err := informer.New(client.For[*clienttest.Widget](client.New(f, env.Client.Registry())), informer.Config[*clienttest.Widget]{Stream: stream, Page: 5, Pause: 100 * time.Millisecond, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
			require.NoError(t, err)
			m := &mirror{t: t, have: map[string]*clienttest.Widget{}}
			i.Handle(informer.Handler[*clienttest.Widget]{Change: m.change})
			run(t, i)
			r := rand.New(rand.NewPCG(seed, 1))
			for f.watches() < 8 {
				churn(t, env, r, 15)
			}
			settled := func() bool {
				return maps.Equal(stored(t, env), held(i)) && maps.Equal(held(i), m.versions())
			}
			if !assert.Eventually(t, settled, 20*time.Second, 20*time.Millisecond) {
				require.Equal(t, stored(t, env), held(i))
				require.Equal(t, held(i), m.versions())
			}
		})
	}
}

// TestNotServed: an informer of a kind that the server doesn't serve says so, and goes on asking.
func TestNotServed(t *testing.T) {
	for _, stream := range []bool{false, true} {
		env := clienttest.Start(t, clienttest.Config{})
		registry, err := apimachinery.NewRegistry(clienttest.Widgets())
		require.NoError(t, err)
		told := make(lines, 64)
		i, err := informer.New(client.For[*clienttest.Widget](client.New(env.Client.Doer(), registry)), informer.Config[*clienttest.Widget]{
			Stream: stream, Pause: time.Millisecond, Log: slog.New(slog.NewTextHandler(told, nil)),
		})
		require.NoError(t, err)
		run(t, i)
		for range 2 {
			line := <-told
			require.Contains(t, line, "the server does not serve this resource, trying again")
			require.Contains(t, line, "resource=widgets.test.example.org")
		}
	}
}

// lines hears a log, and forgets what nobody reads.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default:
	}
	return len(p), nil
}

func TestSubscriptionMerges(t *testing.T) {
	env := clienttest.Start(t, clienttest.Config{Resources: []apimachinery.Resource{clienttest.Widgets()}})
	i := implementations["view"](t, env)
	run(t, i)
	s := i.Subscribe()
	door := client.For[*clienttest.Widget](env.Client)
	first := create(t, env, widget("a", "one", 1))
	waitFor(t, i, first)
	c, err := s.Next(t.Context())
	require.NoError(t, err)
	require.True(t, c.Added)

	require.NoError(t, door.Delete(t.Context(), "a", "one"))
	create(t, env, widget("a", "brief", 1))
	require.NoError(t, door.Delete(t.Context(), "a", "brief"))
	second := create(t, env, widget("a", "one", 2))
	waitFor(t, i, second)
	c, ok := s.Take()
	require.True(t, ok)
	require.True(t, c.Deleted, "replaced by another of its name: first it goes")
	require.Equal(t, first.UID, c.Object().UID)
	c, ok = s.Take()
	require.True(t, ok)
	require.True(t, c.Added)
	require.Equal(t, second.UID, c.Object().UID)
	_, ok = s.Take()
	require.False(t, ok, "what came and went unseen is not told")

	for n := range 20 {
		_, err := door.Modify(t.Context(), "a", "one", func(w *clienttest.Widget) error {
			w.Spec.Size = 10 + n
			return nil
		})
		require.NoError(t, err)
	}
	last, err := door.Get(t.Context(), "a", "one")
	require.NoError(t, err)
	waitFor(t, i, last)
	c, ok = s.Take()
	require.True(t, ok)
	require.Equal(t, second.ResourceVersion, c.Old.ResourceVersion)
	require.Equal(t, last.ResourceVersion, c.New.ResourceVersion)
	s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Empty(t, slices.Collect(s.All(ctx)))
}
