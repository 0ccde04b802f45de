package leader

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStep(t *testing.T) {
	const d = 15 * time.Second
	now := time.Unix(1_000_000, 0)
	var a, b observed
	lease := a.step(nil, "a", d, now)
	require.Equal(t, "a", *lease.Spec.HolderIdentity)
	require.EqualValues(t, 15, *lease.Spec.LeaseDurationSeconds)
	lease.ResourceVersion = "1"

	require.Nil(t, b.step(lease, "b", d, now.Add(time.Hour)), "b sees it for the first time: only now its clock begins")
	require.Nil(t, b.step(lease, "b", d, now.Add(time.Hour+d-1)))
	taken := b.step(lease, "b", d, now.Add(time.Hour+d))
	require.NotNil(t, taken, "a was silent for long enough")
	require.Equal(t, "b", *taken.Spec.HolderIdentity)
	require.EqualValues(t, 1, *taken.Spec.LeaseTransitions)
	require.Equal(t, "a", *lease.Spec.HolderIdentity, "what was read is not changed")

	renewed := a.step(lease, "a", d, now.Add(time.Second))
	require.Equal(t, lease.Spec.AcquireTime, renewed.Spec.AcquireTime)
	require.NotEqual(t, lease.Spec.RenewTime, renewed.Spec.RenewTime)
	require.EqualValues(t, 0, *renewed.Spec.LeaseTransitions)

	renewed.ResourceVersion = "2"
	require.Nil(t, b.step(renewed, "b", d, now.Add(2*time.Hour)), "a was heard of")
	free := released(renewed, now)
	free.ResourceVersion = "3"
	require.NotNil(t, b.step(free, "b", d, now.Add(2*time.Hour)), "who gives it up is not waited for")
}

func start(t clienttest.TB) *clienttest.Env {
	return clienttest.Start(t, clienttest.Config{Resources: []apimachinery.Resource{coordination.Leases()}})
}

func config(c *client.Client, identity string) Config {
	return Config{Client: c, Name: "test", Identity: identity, Duration: time.Second, Deadline: 300 * time.Millisecond, Retry: 20 * time.Millisecond}
}

// cut is a Doer that can lose its server.
type cut struct {
	apimachinery.Doer
	lost atomic.Bool
}

func (c *cut) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	if c.lost.Load() {
		return nil, errors.New("no route to host")
	}
	return c.Doer.Do(ctx, r)
}

// TestLeaderThatLosesItsServer ends before another can lead.
func TestLeaderThatLosesItsServer(t *testing.T) {
	env := start(t)
	door := &cut{Doer: env.Client.Doer()}
	first, err := New(config(client.New(door, env.Client.Registry()), "first"))
	require.NoError(t, err)
	second, err := New(config(env.Client, "second"))
	require.NoError(t, err)
	var leaders atomic.Int32
	begun, fences := make(chan string, 2), map[string]string{}
	lead := func(name string, until <-chan struct{}) func(ctx context.Context, fence string) error {
		return func(ctx context.Context, fence string) error {
			require.EqualValues(t, 1, leaders.Add(1))
			fences[name] = fence
			begun <- name
			select {
			case <-ctx.Done():
			case <-until:
			}
			leaders.Add(-1)
			return nil
		}
	}
	results := make(chan error, 2)
	go func() { results <- first.Run(t.Context(), lead("first", nil)) }()
	require.Equal(t, "first", <-begun)
	enough := make(chan struct{})
	go func() { results <- second.Run(t.Context(), lead("second", enough)) }()
	door.lost.Store(true)
	require.ErrorIs(t, <-results, ErrLost)
	require.Equal(t, "second", <-begun)
	close(enough)
	require.NoError(t, <-results)
	require.NotEqual(t, fences["first"], fences["second"])
	l, err := client.For[*coordinationv1.Lease](env.Client).Get(t.Context(), "kube-system", "test")
	require.NoError(t, err)
	require.Nil(t, l.Spec.HolderIdentity, "the lease was given up")
}

func TestLeadersErrorComesBack(t *testing.T) {
	e, err := New(config(start(t).Client, "one"))
	require.NoError(t, err)
	boom := errors.New("boom")
	require.ErrorIs(t, e.Run(t.Context(), func(context.Context, string) error { return boom }), boom)
}

func TestConfig(t *testing.T) {
	env := start(t)
	for want, c := range map[string]Config{
		"Client and Name must be set": {},
		"it takes Retry":              {Client: env.Client, Name: "x", Deadline: time.Minute},
		"leases count in seconds":     {Client: env.Client, Name: "x", Duration: 500 * time.Millisecond, Deadline: 100 * time.Millisecond, Retry: 10 * time.Millisecond},
	} {
		_, err := New(c)
		require.ErrorContains(t, err, want)
	}
	e, err := New(Config{Client: env.Client, Name: "x"})
	require.NoError(t, err)
	require.NotEmpty(t, e.Identity())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, e.Run(ctx, nil), "it ends before it leads")
}

func Example() {
	t := clienttest.NoTest()
	defer t.End()
	e, err := New(Config{Client: start(t).Client, Name: "my-operator", Identity: "me"})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = e.Run(context.Background(), func(ctx context.Context, fence string) error {
		fmt.Println("leading")
		return nil
	})
	fmt.Println(err)
	// Output:
	// leading
	// <nil>
}
