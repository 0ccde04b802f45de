package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// doer is an API that answers as a test wants it.
type doer func(r *apimachinery.Request) (*apimachinery.Response, error)

func (d doer) Do(_ context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	return d(r)
}

// TestReporter: an API that fails is tried again, later and later; it hears the newest status alone, once; and one
// that knows the pod no more is left in peace.
func TestReporter(t *testing.T) {
	registry, err := apimachinery.NewRegistry(core.Resources()...)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var tries []time.Duration
		var told []string
		var answer error
		api := doer(func(r *apimachinery.Request) (*apimachinery.Response, error) {
			tries = append(tries, time.Since(begun))
			if answer != nil {
				return nil, answer
			}
			var patch struct{ Status struct{ Reason string } }
			require.NoError(t, json.Unmarshal(r.Body, &patch))
			told = append(told, patch.Status.Reason)
			return &apimachinery.Response{Code: 200, ContentType: apimachinery.JSON, Stream: io.NopCloser(strings.NewReader(`{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7"}}`))}, nil
		})
		a := &Agent{c: Config{Log: slog.New(slog.DiscardHandler)}, pods: client.For[*corev1.Pod](client.New(api, registry))}
		r := newReporter(a)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); r.run(ctx) }()
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", UID: "u"}}

		require.NoError(t, r.wait(ctx))
		r.set(p, corev1.PodStatus{})
		synctest.Wait()
		require.Empty(t, tries, "nothing to tell")

		answer = errors.New("down")
		r.set(p, corev1.PodStatus{Reason: "a"})
		synctest.Wait()
		r.set(p, corev1.PodStatus{Reason: "b"})
		r.set(p, corev1.PodStatus{Reason: "c"})
		time.Sleep(1200 * time.Millisecond)
		synctest.Wait()
		answer = nil
		require.NoError(t, r.wait(ctx))
		require.Equal(t, []time.Duration{0, 100e6, 300e6, 700e6, 1500e6}, tries)
		require.Equal(t, []string{"c"}, told)

		r.set(p, corev1.PodStatus{Reason: "c"})
		synctest.Wait()
		require.Len(t, told, 1, "it was told already")
		seen := p.DeepCopy()
		seen.ResourceVersion, seen.Status.Reason = "8", "forged"
		r.set(seen, corev1.PodStatus{Reason: "c"})
		require.NoError(t, r.wait(ctx))
		require.Len(t, told, 2, "somebody has written over it since")
		answer = apierrors.NewNotFound(corev1.Resource("pods"), "p")
		r.set(p, corev1.PodStatus{Reason: "d"})
		require.NoError(t, r.wait(ctx))
		require.Len(t, tries, 7)
		cancel()
		<-ended
		r.set(p, corev1.PodStatus{Reason: "e"})
		require.Error(t, r.wait(ctx), "nobody tells it any more")
	})
}
