package helm

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// node stands for a node and for the controller of Jobs: pods are ready at once, those that don't restart have
// succeeded, and so have Jobs.
type node struct{ client kubernetes.Interface }

func startNode(t *testing.T, k kubernetes.Interface) {
	ctx, cancel := context.WithCancel(t.Context())
	n := &node{k}
	f := informers.NewSharedInformerFactory(k, 0)
	handle := func(do func(context.Context, any) error) cache.ResourceEventHandler {
		made := func(o any) {
			if err := do(ctx, o); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !errors.Is(err, context.Canceled) {
				t.Errorf("the node: %v", err)
			}
		}
		return cache.ResourceEventHandlerFuncs{AddFunc: made, UpdateFunc: func(_, o any) { made(o) }}
	}
	for i, do := range map[cache.SharedIndexInformer]func(context.Context, any) error{
		f.Core().V1().Pods().Informer(): n.pod, f.Batch().V1().Jobs().Informer(): n.job,
	} {
		_, err := i.AddEventHandler(handle(do))
		require.NoError(t, err)
	}
	f.Start(ctx.Done())
	t.Cleanup(func() { cancel(); f.Shutdown() })
}

func (n *node) pod(ctx context.Context, o any) error {
	p := o.(*corev1.Pod).DeepCopy()
	if p.Status.Phase != corev1.PodPending && p.Status.Phase != "" || p.DeletionTimestamp != nil {
		return nil
	}
	p.Status.Phase = corev1.PodRunning
	ready := corev1.ConditionTrue
	if p.Spec.RestartPolicy == corev1.RestartPolicyNever {
		p.Status.Phase, ready = corev1.PodSucceeded, corev1.ConditionFalse
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.Now()}}
	_, err := n.client.CoreV1().Pods(p.Namespace).UpdateStatus(ctx, p, metav1.UpdateOptions{})
	return err
}

func (n *node) job(ctx context.Context, o any) error {
	j := o.(*batchv1.Job).DeepCopy()
	if j.Status.StartTime == nil {
		now := metav1.Now()
		j.Status.StartTime = &now
	} else if len(j.Status.Conditions) == 0 {
		now, none := metav1.Now(), int32(0)
		j.Status.CompletionTime, j.Status.Succeeded, j.Status.Ready = &now, 1, &none
		for _, typ := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete} {
			j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: typ, Status: corev1.ConditionTrue, LastTransitionTime: now, LastProbeTime: now})
		}
	} else {
		return nil
	}
	_, err := n.client.BatchV1().Jobs(j.Namespace).UpdateStatus(ctx, j, metav1.UpdateOptions{})
	return err
}
