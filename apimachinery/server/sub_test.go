package server_test

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
)

func place(name, host, seen string) *apimachinery.Request {
	return &apimachinery.Request{
		Verb: "create", Resource: databases, Namespace: "default", Name: name, Sub: "placement", Seen: seen,
		Object: &placement{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: placementSpec{Host: host}},
	}
}

func TestScaleAndOthers(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		must[database](t, d, create(databases, newDatabase("a")))
		r := get(databases, "a")
		r.Sub = "scale"
		s := must[size](t, d, r)
		require.Equal(t, "Size", s.Kind)
		require.EqualValues(t, 1, s.Spec.Replicas)
		s.Spec.Replicas = 3
		r = update(databases, s)
		r.Sub = "scale"
		after := must[size](t, d, r)
		require.EqualValues(t, 3, after.Spec.Replicas)
		require.NotEqual(t, s.ResourceVersion, after.ResourceVersion)
		_, _, err := do(t, d, r)
		require.True(t, apierrors.IsConflict(err), "%v", err)
		p := patch(databases, "a", mergePatch, `{"spec":{"replicas":5}}`)
		p.Sub = "scale"
		require.EqualValues(t, 5, must[size](t, d, p).Spec.Replicas)
		o := must[database](t, d, get(databases, "a"))
		require.EqualValues(t, 5, *o.Spec.Replicas)
		require.EqualValues(t, 3, o.Generation)

		echo := must[size](t, d, &apimachinery.Request{Verb: "create", Resource: databases, Namespace: "default", Name: "a", Sub: "echo", Object: &size{}})
		require.Equal(t, "tester", echo.Labels["user"])

		for _, r := range []*apimachinery.Request{
			{Verb: "get", Resource: databases, Namespace: "default", Name: "a", Sub: "nothing"},
			{Verb: "get", Resource: databases, Namespace: "default", Name: "a", Sub: "log"},
		} {
			_, _, err = do(t, d, r)
			require.True(t, apierrors.IsNotFound(err), "%v", err)
		}
		_, _, err = do(t, d, &apimachinery.Request{Verb: "update", Resource: databases, Namespace: "default", Name: "a", Sub: "placement", Object: &placement{}})
		require.True(t, apierrors.IsMethodNotSupported(err), "%v", err)
	})
}

func TestConnector(t *testing.T) {
	with := func(c *server.Config) {
		c.Connectors = map[string]server.Connector{"databases/log": server.ConnectorFunc(
			func(_ context.Context, r *apimachinery.Request, parent apimachinery.Object) (*apimachinery.Response, error) {
				return &apimachinery.Response{ContentType: "text/plain", Stream: io.NopCloser(strings.NewReader("log of " + parent.GetName()))}, nil
			})}
	}
	bothDoors(t, with, func(t *testing.T, d apimachinery.Doer, w *world) {
		must[database](t, d, create(databases, newDatabase("a")))
		r := get(databases, "a")
		r.Sub = "log"
		body, _, err := do(t, d, r)
		require.NoError(t, err)
		require.Equal(t, "log of a", string(body))
	})
}

// TestConnectorTakesNoPlace: a log that is followed goes on without a place among the requests.
func TestConnectorTakesNoPlace(t *testing.T) {
	w := start(t, func(c *server.Config) {
		c.Limits.Reads = 1
		c.Connectors = map[string]server.Connector{"databases/log": server.ConnectorFunc(
			func(ctx context.Context, r *apimachinery.Request, _ apimachinery.Object) (*apimachinery.Response, error) {
				from, to := io.Pipe()
				context.AfterFunc(ctx, func() { to.Close() })
				return &apimachinery.Response{ContentType: "text/plain", Stream: from}, nil
			})}
	})
	d := w.s.As(tester)
	must[database](t, d, create(databases, newDatabase("a")))
	for range 3 {
		r := get(databases, "a")
		r.Sub = "log"
		resp, err := d.Do(t.Context(), r)
		require.NoError(t, err)
		defer resp.Stream.Close()
	}
	must[database](t, d, get(databases, "a"))
}

func TestPlacementGuardsItsHost(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		for i := range 3 {
			must[database](t, d, create(databases, newDatabase(fmt.Sprintf("d%d", i))))
		}
		first := must[metav1.Status](t, d, place("d0", "n1", ""))
		require.Equal(t, metav1.StatusSuccess, first.Status)
		require.NotEmpty(t, first.ResourceVersion)
		require.Equal(t, first.ResourceVersion, must[database](t, d, get(databases, "d0")).ResourceVersion)
		before, err := strconv.Atoi(first.ResourceVersion)
		require.NoError(t, err)
		_, _, err = do(t, d, place("d1", "n1", strconv.Itoa(before-1)))
		require.True(t, apierrors.IsConflict(err), "%v", err)
		require.ErrorContains(t, err, "allocations/n1 was written at revision")
		require.Empty(t, must[database](t, d, get(databases, "d1")).Spec.Host)
		must[metav1.Status](t, d, place("d1", "n1", first.ResourceVersion))
		must[metav1.Status](t, d, place("d2", "n2", strconv.Itoa(before-1)))
	})
}

// TestSchedulersCannotOvercommit lets two writers race for one place, each with what it has seen.
func TestSchedulersCannotOvercommit(t *testing.T) {
	w := start(t, nil)
	d := w.s.As(tester)
	const items = 40
	for i := range items {
		must[database](t, d, create(databases, newDatabase(fmt.Sprintf("d%d", i))))
	}
	l := must[metav1.PartialObjectMetadataList](t, d, list(databases, metav1.ListOptions{}))
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range items {
		wg.Go(func() {
			if _, err := d.Do(t.Context(), place(fmt.Sprintf("d%d", i), "n1", l.ResourceVersion)); err == nil {
				won.Add(1)
			} else if !apierrors.IsConflict(err) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, won.Load())

	wg = sync.WaitGroup{}
	for i := range items {
		wg.Go(func() {
			if _, err := d.Do(t.Context(), place(fmt.Sprintf("d%d", i), "n2", "")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestFence(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		hold := func(who string) string {
			return must[lease](t, d, update(leases, &lease{ObjectMeta: metav1.ObjectMeta{Name: "l"}, Spec: leaseSpec{Holder: who}})).ResourceVersion
		}
		fenced := func(name, rev string) *apimachinery.Request {
			r := create(configMaps, configMap(name, nil))
			r.Fence = "default/l=" + rev
			return r
		}
		first := hold("one")
		_, _, err := do(t, d, fenced("a", first))
		require.NoError(t, err)
		renewed := &lease{ObjectMeta: metav1.ObjectMeta{Name: "l", Annotations: map[string]string{"renewed": "1"}}, Spec: leaseSpec{Holder: "one"}}
		must[lease](t, d, update(leases, renewed))
		_, _, err = do(t, d, fenced("b", first))
		require.NoError(t, err, "a renewal is no change of hands")
		second := hold("two")
		for _, r := range []*apimachinery.Request{fenced("c", first), func() *apimachinery.Request {
			r := remove(configMaps, "a", nil)
			r.Fence = "default/l=" + first
			return r
		}()} {
			_, _, err = do(t, d, r)
			require.True(t, apierrors.IsConflict(err), "%v", err)
			require.ErrorContains(t, err, "the lease default/l has moved on since revision "+first)
		}
		_, _, err = do(t, d, fenced("c", second))
		require.NoError(t, err)
		for _, bad := range []string{"x", "default/l", "default/l=x", "l=1", "a/b/c=1"} {
			r := create(configMaps, configMap("z", nil))
			r.Fence = bad
			_, _, err = do(t, d, r)
			require.True(t, apierrors.IsBadRequest(err), "%s: %v", bad, err)
		}
	})
}
