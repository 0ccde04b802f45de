package core

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// ComponentStatuses declares v1 ComponentStatus, which is not stored: whoever gets or lists it hears what the checks of
// the components, by their names ("scheduler", "controller-manager", "etcd-0"), say at that moment. A check that
// returns an error is what is wrong; all run at once, each within the request's time. Kubernetes has deprecated the
// kind.
func ComponentStatuses(checks map[string]func(context.Context) error) apimachinery.Resource {
	type component = *corev1.ComponentStatus
	return apimachinery.Resource{
		Name: schema.GroupResource{Resource: "componentstatuses"},
		New:  func() apimachinery.Object { return &corev1.ComponentStatus{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ComponentStatus"),
			Plural:           "componentstatuses", Short: []string{"cs"},
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Status", "string", func(c component) any { return healthOf(c) }),
				apimachinery.ColumnOf("Message", "string", func(c component) any { return healthy(c).Message }),
				apimachinery.ColumnOf("Error", "string", func(c component) any { return healthy(c).Error }),
			},
		}},
		Verbs:  []string{apimachinery.VerbGet, apimachinery.VerbList},
		Listed: func(ctx context.Context) ([]apimachinery.Object, error) { return ask(ctx, checks), nil },
	}
}

func ask(ctx context.Context, checks map[string]func(context.Context) error) []apimachinery.Object {
	out := make([]apimachinery.Object, len(checks))
	var all sync.WaitGroup
	for i, name := range sortedKeys(checks) {
		all.Go(func() {
			c := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
			if err := checks[name](ctx); err != nil {
				c.Status, c.Message, c.Error = corev1.ConditionFalse, "", err.Error()
			}
			out[i] = &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Conditions: []corev1.ComponentCondition{c}}
		})
	}
	all.Wait()
	return out
}

// healthy is the first condition that tells of health; an empty one if none does.
func healthy(c *corev1.ComponentStatus) corev1.ComponentCondition {
	for _, condition := range c.Conditions {
		if condition.Type == corev1.ComponentHealthy {
			return condition
		}
	}
	return corev1.ComponentCondition{}
}

func healthOf(c *corev1.ComponentStatus) string {
	switch condition := healthy(c); {
	case condition.Type == "":
		return "Unknown"
	case condition.Status == corev1.ConditionTrue:
		return "Healthy"
	}
	return "Unhealthy"
}
