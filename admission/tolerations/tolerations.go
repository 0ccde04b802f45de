// Package tolerations is the admission plugin that lets pods stay for a while on a node that is not ready or not
// reachable, where they say nothing about it themselves.
package tolerations

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// Name is the plugin's.
const Name = "DefaultTolerationSeconds"

// Config is how long pods stay.
type Config struct {
	// NotReady and Unreachable are in seconds; nil is 300.
	NotReady, Unreachable *int64
}

// New returns the plugin.
func New(c Config) apimachinery.Plugin {
	return apimachinery.Plugin{Name: Name, Mutate: &plugin{orDefault(c.NotReady), orDefault(c.Unreachable)}}
}

func orDefault(s *int64) int64 {
	if s == nil {
		return 300
	}
	return *s
}

type plugin struct{ notReady, unreachable int64 }

// Mutate implements [apimachinery.Mutator].
func (p *plugin) Mutate(_ context.Context, a *apimachinery.Admission) error {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || a.Sub != "" || a.Operation != "CREATE" && a.Operation != "UPDATE" {
		return nil
	}
	tolerate(pod, corev1.TaintNodeNotReady, p.notReady)
	tolerate(pod, corev1.TaintNodeUnreachable, p.unreachable)
	return nil
}

// tolerate adds a toleration of a key for seconds if none speaks of it.
func tolerate(pod *corev1.Pod, key string, seconds int64) {
	for _, t := range pod.Spec.Tolerations {
		if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return
		}
	}
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
		Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
	})
}
