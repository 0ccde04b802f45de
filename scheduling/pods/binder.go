package pods

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/scheduling"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// patience is how long a binding that was refused waits for the news that it was
// decided on without.
const patience = 2 * time.Second

// binder posts bindings, each with the revision up to which everything that was
// bound to the node was known. The server refuses one that is behind.
type binder struct {
	api  apimachinery.Doer
	fits func(context.Context, *corev1.Pod, string) (bool, error)
	told func() int64                       // revision up to which fits knows all pods
	wait func(context.Context, int64) error // until fits knows a revision

	mu   sync.Mutex
	ours map[string]int64 // by node: revision of our last binding, while that is ahead of what is told
}

func newBinder(api apimachinery.Doer, fits func(context.Context, *corev1.Pod, string) (bool, error), told func() int64, wait func(context.Context, int64) error) *binder {
	return &binder{api: api, fits: fits, told: told, wait: wait, ours: map[string]int64{}}
}

// bind binds a pod, unless the node has filled up since the decision. It is called
// for one node at a time, which is what makes seen true.
func (b *binder) bind(ctx context.Context, pod *corev1.Pod, node string) error {
	seen := b.seen(node) // before fits: what comes in between is only known better
	ok, err := b.fits(ctx, pod, node)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("node %s has changed: %w", node, scheduling.ErrStale)
	}
	rev, err := b.post(ctx, pod, node, seen)
	switch {
	case err == nil:
		b.bound(node, rev)
		return nil
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		b.catchUp(ctx, seen)
		return fmt.Errorf("%w: %w", scheduling.ErrStale, err)
	}
	return err
}

// seen is the revision up to which all that was bound to a node is known: that of
// the cache or, if it is later, that of our own last binding. For that was not
// refused, so nobody bound between what was seen then and it.
func (b *binder) seen(node string) int64 {
	told := b.told()
	b.mu.Lock()
	defer b.mu.Unlock()
	if own := b.ours[node]; own > told {
		return own
	}
	delete(b.ours, node)
	return told
}

func (b *binder) bound(node string, rev int64) {
	if rev > 0 {
		b.mu.Lock()
		b.ours[node] = rev
		b.mu.Unlock()
	}
}

// forget drops what is known of a node that is gone.
func (b *binder) forget(node string) {
	b.mu.Lock()
	delete(b.ours, node)
	b.mu.Unlock()
}

// catchUp waits a little for something newer than what the binding was based on.
func (b *binder) catchUp(ctx context.Context, seen int64) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// Whether it came or not, the item is tried again on what is known then.
	_ = b.wait(ctx, seen+1)
}

// post sends the binding and returns its revision; 0 where the server doesn't say.
func (b *binder) post(ctx context.Context, pod *corev1.Pod, node string, seen int64) (int64, error) {
	body, err := json.Marshal(&corev1.Binding{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Binding"},
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	})
	if err != nil {
		return 0, err
	}
	r := &apimachinery.Request{
		Verb: apimachinery.VerbCreate, Resource: corev1.SchemeGroupVersion.WithResource("pods"),
		Namespace: pod.Namespace, Name: pod.Name, Sub: "binding",
		Body: body, ContentType: "application/json", Options: &metav1.CreateOptions{},
		Fence: client.FenceOf(ctx),
	}
	if seen > 0 {
		r.Seen = strconv.FormatInt(seen, 10)
	}
	answer, err := b.api.Do(ctx, r)
	if err != nil {
		return 0, err
	}
	return revisionOf(answer)
}

// revisionOf reads the revision from the Status that answers a binding.
func revisionOf(r *apimachinery.Response) (int64, error) {
	body := r.Body
	if r.Stream != nil {
		defer r.Stream.Close()
		var err error
		if body, err = io.ReadAll(io.LimitReader(r.Stream, 1<<20)); err != nil {
			return 0, err
		}
	}
	var status metav1.Status
	if err := json.Unmarshal(body, &status); err != nil {
		return 0, fmt.Errorf("answer to a binding: %w", err)
	}
	rev, err := strconv.ParseInt(status.ResourceVersion, 10, 64)
	if err != nil {
		return 0, nil // other servers don't say
	}
	return rev, nil
}
