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

// TestApplyScale: who applies a scale owns the replicas of the object, against others and over them.
func TestApplyScale(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, _ *world) {
		apply := func(manager, sub, body string, force bool) *apimachinery.Request {
			r := patch(databases, "a", applyPatch, body)
			r.Sub, r.Options = sub, &metav1.PatchOptions{FieldManager: manager, Force: &force}
			return r
		}
		replicas := func(n int) string {
			return fmt.Sprintf(`{"apiVersion":"db.example.com/v1","kind":"Size","metadata":{"name":"a"},"spec":{"replicas":%d}}`, n)
		}
		owners := func() (names []string) {
			for _, m := range must[database](t, d, get(databases, "a")).ManagedFields {
				if strings.Contains(string(m.FieldsV1.GetRawBytes()), `"f:replicas"`) {
					names = append(names, m.Manager+"/"+m.Subresource+"/"+string(m.Operation)+"/"+m.APIVersion)
				}
			}
			return names
		}
		whole := `{"apiVersion":"db.example.com/v1","kind":"Database","metadata":{"name":"a"},"spec":{"engine":"x","replicas":1}}`
		must[database](t, d, apply("maker", "", whole, false))
		require.Equal(t, []string{"maker//Apply/db.example.com/v1"}, owners())

		_, _, err := do(t, d, apply("scaler", "scale", replicas(3), false))
		require.True(t, apierrors.IsConflict(err), "%v", err)
		require.ErrorContains(t, err, `conflict with "maker": .spec.replicas`)
		s := must[size](t, d, apply("scaler", "scale", replicas(3), true))
		require.EqualValues(t, 3, s.Spec.Replicas)
		require.Equal(t, []string{"scaler/scale/Apply/db.example.com/v1"}, owners())
		o := must[database](t, d, get(databases, "a"))
		require.EqualValues(t, 3, *o.Spec.Replicas)
		require.EqualValues(t, 2, o.Generation)
		require.Len(t, o.ManagedFields, 2, "the maker keeps the rest")
		require.NotNil(t, o.ManagedFields[0].Time)

		again := must[size](t, d, apply("scaler", "scale", replicas(3), false))
		require.Equal(t, s.ResourceVersion, again.ResourceVersion, "nothing to do")
		_, _, err = do(t, d, apply("maker", "", whole, false))
		require.True(t, apierrors.IsConflict(err), "%v", err)
		must[size](t, d, apply("other", "scale", replicas(3), false))
		require.ElementsMatch(t, []string{"scaler/scale/Apply/db.example.com/v1", "other/scale/Apply/db.example.com/v1"}, owners())
		must[database](t, d, apply("maker", "", whole, true))
		require.Equal(t, []string{"maker//Apply/db.example.com/v1"}, owners())

		for what, body := range map[string]string{
			"the kind in the applied configuration":                    strings.ReplaceAll(replicas(1), "Size", "Database"),
			"Incorrect version specified in apply patch":               strings.ReplaceAll(replicas(1), "db.example.com/v1", "autoscaling/v1"),
			"does not match the name on the URL":                       strings.ReplaceAll(replicas(1), `"a"`, `"b"`),
			"failed to create typed patch object (Size): .spec.replic": strings.ReplaceAll(replicas(1), "1}}", `"x"}}`),
		} {
			_, _, err = do(t, d, apply("scaler", "scale", body, false))
			require.True(t, apierrors.IsBadRequest(err), "%v", err)
			require.ErrorContains(t, err, what)
		}
		missing := apply("scaler", "scale", strings.ReplaceAll(replicas(1), `"a"`, `"b"`), false)
		missing.Name = "b"
		_, _, err = do(t, d, missing)
		require.True(t, apierrors.IsNotFound(err), "%v", err)
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
