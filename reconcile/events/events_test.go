package events

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCorrelate(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	c := newCorrelator(25, 5*time.Minute, 100)
	event := id{kind: "Pod", name: "p", uid: "u", typ: "Normal", reason: "Pulled", note: "image a"}
	_, v := c.see(now, event)
	require.True(t, v.first)
	_, v = c.see(now.Add(time.Second), event)
	require.False(t, v.first)
	require.EqualValues(t, 2, v.known.count)
	c.forget(event)
	_, v = c.see(now.Add(2*time.Second), event)
	require.True(t, v.first, "what was forgotten is new")

	for n := range 8 {
		event.note = fmt.Sprint("image ", n)
		_, v = c.see(now.Add(3*time.Second), event)
		require.True(t, v.first)
	}
	event.note = "image 9"
	_, v = c.see(now.Add(4*time.Second), event)
	require.Equal(t, combined+"image 9", v.note, "the tenth of its like is combined with those to come")
	event.note = "image 10"
	_, v = c.see(now.Add(4*time.Second), event)
	require.False(t, v.first)

	for range 12 {
		_, v = c.see(now.Add(4*time.Second), event)
	}
	require.False(t, v.drop)
	_, v = c.see(now.Add(4*time.Second), event)
	require.True(t, v.drop, "that was too many of one object")
	_, v = c.see(now.Add(6*time.Minute), event)
	require.False(t, v.drop)
	event.uid = "other"
	_, v = c.see(now.Add(4*time.Second), event)
	require.False(t, v.drop, "others are not concerned")
}

func TestMemoryIsBounded(t *testing.T) {
	c := newCorrelator(25, time.Minute, 10)
	for n := range 1000 {
		c.see(time.Unix(int64(n), 0), id{name: fmt.Sprint(n)})
	}
	for _, n := range []int{c.buckets.order.Len(), c.groups.order.Len(), c.records.order.Len(), len(c.records.at)} {
		require.LessOrEqual(t, n, 10)
	}
}

func start(t clienttest.TB) *clienttest.Env {
	return clienttest.Start(t, clienttest.Config{Resources: []apimachinery.Resource{core.ConfigMaps(), core.Events()}})
}

func about(t clienttest.TB, env *clienttest.Env) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{}
	cm.Namespace, cm.Name = "default", "one"
	cm, err := client.For[*corev1.ConfigMap](env.Client).Create(context.Background(), cm)
	require.NoError(t, err)
	return cm
}

func TestRecorder(t *testing.T) {
	env := start(t)
	r, err := New(Config{Client: env.Client, Component: "test", Host: "h"})
	require.NoError(t, err)
	cm := about(t, env)
	for range 3 {
		r.Warning(cm, "Odd", "the %s is odd", "one")
	}
	r.Normal(cm, "Long", "%s", strings.Repeat("ü", 2000))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, r.Run(ctx), "what was recorded is written at the end")
	require.Error(t, r.Run(ctx))
	l, err := client.For[*corev1.Event](env.Client).List(t.Context(), client.Fields("involvedObject.name=one,reason=Odd"))
	require.NoError(t, err)
	require.Len(t, l.Items, 1)
	e := l.Items[0]
	require.EqualValues(t, 3, e.Count)
	require.Equal(t, "the one is odd", e.Message)
	require.Equal(t, "Warning", e.Type)
	require.Equal(t, cm.UID, e.InvolvedObject.UID)
	require.Equal(t, "test", e.Source.Component)
	all, err := client.For[*corev1.Event](env.Client).List(t.Context())
	require.NoError(t, err)
	require.Len(t, all.Items, 2)
}

// TestRepeatOfAnEventThatIsGone makes it anew.
func TestRepeatOfAnEventThatIsGone(t *testing.T) {
	env := start(t)
	r, err := New(Config{Client: env.Client, Component: "test"})
	require.NoError(t, err)
	cm := about(t, env)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { r.Run(ctx) })
	door := client.For[*corev1.Event](env.Client)
	w, err := door.Watch(ctx)
	require.NoError(t, err)
	defer w.Close()
	for range 2 {
		r.Normal(cm, "Told", "again")
		e, err := w.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, client.Added, e.Type)
		require.NoError(t, door.Delete(ctx, e.Object.Namespace, e.Object.Name))
		e, err = w.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, client.Deleted, e.Type)
	}
	cancel()
	wg.Wait()
}

// broken is a Doer that can't be reached.
type broken struct{}

func (broken) Do(context.Context, *apimachinery.Request) (*apimachinery.Response, error) {
	return nil, errors.New("no route to host")
}

func TestRecordNeverBlocks(t *testing.T) {
	registry, err := apimachinery.NewRegistry(core.Events())
	require.NoError(t, err)
	r, err := New(Config{Client: client.New(broken{}, registry), Component: "test", Queue: 10})
	require.NoError(t, err)
	for range 100 {
		r.Record(corev1.ObjectReference{Kind: "Pod", Name: "p"}, "Normal", "R", "x")
	}
	require.EqualValues(t, 90, r.Dropped())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, r.Run(ctx))
}

func TestConfig(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "Client and Component must be set")
	registry, err := apimachinery.NewRegistry()
	require.NoError(t, err)
	_, err = New(Config{Client: client.New(broken{}, registry), Component: "x"})
	require.ErrorContains(t, err, "*v1.Event is not a kind of this client")
}

func Example() {
	t := clienttest.NoTest()
	defer t.End()
	env := start(t)
	r, err := New(Config{Client: env.Client, Component: "painter"})
	if err != nil {
		fmt.Println(err)
		return
	}
	r.Normal(about(t, env), "Painted", "it is %s now", "blue")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fmt.Println(r.Run(ctx))
	l, _ := client.For[*corev1.Event](env.Client).List(context.Background())
	fmt.Println(l.Items[0].Reason, l.Items[0].Message)
	// Output:
	// <nil>
	// Painted it is blue now
}
