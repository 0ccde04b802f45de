package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/reconcile/informer"
)

// A reporter tells the API a pod's status beside the worker's loop, so that a slow API holds nothing up. Of
// statuses that it had no time for only the newest is told.
type reporter struct {
	a      *Agent
	dirty  chan struct{} // holds a token while there is something to tell
	mu     sync.Mutex
	pod    *corev1.Pod
	status *corev1.PodStatus // to be told; nil: nothing
	told   *corev1.PodStatus
	rev    int64         // of the pod when that was told
	idle   chan struct{} // closed while there is nothing to tell
}

func newReporter(a *Agent) *reporter {
	r := &reporter{a: a, dirty: make(chan struct{}, 1), idle: make(chan struct{})}
	close(r.idle)
	return r
}

// set is what shall be told. What the API knows, or was told and has not shown us yet, is not told again.
func (r *reporter) set(p *corev1.Pod, s corev1.PodStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	newest := r.status
	if newest == nil && informer.RevOf(p.ResourceVersion) < r.rev {
		newest = r.told
	}
	if newest = cmp.Or(newest, &p.Status); equality.Semantic.DeepEqual(*newest, s) {
		return
	}
	if r.status == nil {
		r.idle = make(chan struct{})
	}
	r.pod, r.status = p, &s
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

// The pauses between tries to tell a status.
const (
	firstPause = 100 * time.Millisecond
	mostPause  = 10 * time.Second
)

// run tells until ctx ends; what is left then is told by the next agent.
func (r *reporter) run(ctx context.Context) {
	for {
		select {
		case <-r.dirty:
		case <-ctx.Done():
			return
		}
		for pause := firstPause; !r.flush(ctx); pause = min(2*pause, mostPause) {
			if sleep(ctx, pause) != nil {
				return
			}
		}
	}
}

// flush tells the newest status; false: try again.
func (r *reporter) flush(ctx context.Context) bool {
	for {
		r.mu.Lock()
		pod, status := r.pod, r.status
		r.mu.Unlock()
		if status == nil {
			return true
		}
		rev, err := r.a.patchStatus(ctx, pod, status)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			if ctx.Err() == nil {
				r.a.c.Log.Warn("pod status is not told", "pod", podKey(pod), "err", err)
			}
			return false
		}
		// Told, or another pod has the name, or none: this one's status is nobody's business any more.
		r.mu.Lock()
		r.told, r.rev = status, max(r.rev, rev)
		if r.status == status {
			r.status = nil
			close(r.idle)
		}
		r.mu.Unlock()
	}
}

// wait returns when everything has been told, or ctx has ended.
func (r *reporter) wait(ctx context.Context) error {
	r.mu.Lock()
	idle := r.idle
	r.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// patchStatus writes what a node knows of a pod's status over what is there, and leaves what others have written
// alone. It fails if the pod is another one by now, and returns the pod's revision.
func (a *Agent) patchStatus(ctx context.Context, p *corev1.Pod, s *corev1.PodStatus) (rev int64, err error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID}, "status": podStatusPatch(s)})
	if err != nil {
		return 0, fmt.Errorf("encode the status of pod %s: %w", podKey(p), err)
	}
	after, err := a.pods.PatchStatus(ctx, p.Namespace, p.Name, types.StrategicMergePatchType, patch)
	if err != nil {
		return 0, err
	}
	return informer.RevOf(after.ResourceVersion), nil
}

// podStatusPatch is a strategic merge patch. What is empty is null in it, or it would stay as it is.
func podStatusPatch(s *corev1.PodStatus) map[string]any {
	var conditions []map[string]any
	for _, c := range s.Conditions {
		if owned(c.Type) {
			conditions = append(conditions, map[string]any{
				"type": c.Type, "status": c.Status, "reason": orNull(c.Reason), "message": orNull(c.Message),
				"lastTransitionTime": c.LastTransitionTime, "observedGeneration": c.ObservedGeneration,
			})
		}
	}
	return map[string]any{
		"phase": s.Phase, "reason": orNull(s.Reason), "message": orNull(s.Message), "startTime": s.StartTime, "conditions": conditions,
		"observedGeneration": s.ObservedGeneration, "hostIP": orNull(s.HostIP), "hostIPs": replacing(s.HostIPs),
		"podIP": orNull(s.PodIP), "podIPs": replacing(s.PodIPs),
		"initContainerStatuses": s.InitContainerStatuses, "containerStatuses": s.ContainerStatuses,
	}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// replacing is a list that takes the place of another instead of being merged into it.
func replacing[T any](list []T) []any {
	out := []any{map[string]any{"$patch": "replace"}}
	for _, item := range list {
		out = append(out, item)
	}
	return out
}
