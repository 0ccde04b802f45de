package pods

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/bedplate/bedplate/apimachinery/client"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// reporter writes the PodScheduled condition of pods that can't be placed, without
// making the scheduler wait: what it is told of a pod while it is busy replaces
// what was to be written of that pod before.
type reporter struct {
	pods  client.Resource[*corev1.Pod]
	limit int
	log   *slog.Logger
	wake  chan struct{}

	mu    sync.Mutex
	news  map[string]report // by pod key
	order []string          // keys, the first told first; may name some that are gone
}

type report struct {
	pod             *corev1.Pod
	reason, message string
}

func newReporter(pods client.Resource[*corev1.Pod], limit int, log *slog.Logger) *reporter {
	return &reporter{pods: pods, limit: limit, log: log, wake: make(chan struct{}, 1), news: map[string]report{}}
}

// report notes a condition to be written, unless the pod has it already.
func (r *reporter) report(pod *corev1.Pod, reason, message string) {
	if c := scheduledCondition(pod); c != nil && c.Status == corev1.ConditionFalse && c.Reason == reason && c.Message == message {
		return
	}
	key := Key(pod)
	r.mu.Lock()
	if _, waits := r.news[key]; !waits {
		if len(r.news) >= r.limit {
			r.mu.Unlock()
			r.log.Warn("condition of a pod isn't written: too many wait", "pod", pod.Namespace+"/"+pod.Name)
			return
		}
		r.queue(key)
	}
	r.news[key] = report{pod, reason, message}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// queue appends a key, dropping those that are gone once they are too many.
func (r *reporter) queue(key string) {
	if len(r.order) >= 2*r.limit {
		r.order = slices.DeleteFunc(r.order, func(k string) bool { _, waits := r.news[k]; return !waits })
	}
	r.order = append(r.order, key)
}

// forget drops what was to be written of a pod.
func (r *reporter) forget(pod *corev1.Pod) {
	r.mu.Lock()
	delete(r.news, Key(pod))
	if len(r.news) == 0 {
		r.order = nil
	}
	r.mu.Unlock()
}

// run writes until ctx ends.
func (r *reporter) run(ctx context.Context) error {
	for {
		if n, ok := r.next(); ok {
			r.write(ctx, n)
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
	}
}

func (r *reporter) next() (n report, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.order) > 0 && !ok {
		key := r.order[0]
		r.order = r.order[1:]
		n, ok = r.news[key]
		delete(r.news, key)
	}
	return n, ok
}

func (r *reporter) write(ctx context.Context, n report) {
	patch, err := json.Marshal(conditionPatch(n))
	if err != nil {
		r.log.Error("encode condition", "err", err)
		return
	}
	_, err = r.pods.PatchStatus(ctx, n.pod.Namespace, n.pod.Name, types.StrategicMergePatchType, patch)
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		r.log.Error("write condition of a pod", "err", err)
	}
}

// conditionPatch changes one condition of the very pod that was reported on.
func conditionPatch(n report) any {
	c := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, ObservedGeneration: n.pod.Generation,
		Reason: n.reason, Message: n.message, LastTransitionTime: metav1.NewTime(time.Now()),
	}
	if old := scheduledCondition(n.pod); old != nil && old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	return map[string]any{
		"metadata": map[string]any{"uid": n.pod.UID},
		"status":   map[string]any{"conditions": []corev1.PodCondition{c}},
	}
}

func scheduledCondition(pod *corev1.Pod) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodScheduled {
			return c
		}
	}
	return nil
}
