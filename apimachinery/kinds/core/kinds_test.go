package core

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/apimachinery"
)

func TestRegistry(t *testing.T) {
	r, err := apimachinery.NewRegistry(Resources()...)
	require.NoError(t, err)
	for _, res := range r.All() {
		for i := range res.Views {
			f := apimachinery.Found{Resource: res, View: &res.Views[i]}
			for _, c := range f.View.Columns {
				require.NotNil(t, c.Cell(f.New()), "%s: column %s of an empty object", res.Name, c.Name)
			}
		}
		if res.Default != nil {
			res.Default(res.New())
		}
	}
}

func TestConfigMap(t *testing.T) {
	yes := true
	validate := ConfigMaps().Validate
	old := &corev1.ConfigMap{Data: map[string]string{"a": "1"}, Immutable: &yes}
	require.Empty(t, validate(t.Context(), old, nil))
	require.Equal(t, []string{"data[a/b] Invalid value"}, text(validate(t.Context(), &corev1.ConfigMap{Data: map[string]string{"a/b": ""}}, nil)))
	require.Equal(t, []string{"data[a] Invalid value"}, text(validate(t.Context(), &corev1.ConfigMap{Data: map[string]string{"a": ""}, BinaryData: map[string][]byte{"a": nil}}, nil)))
	require.Equal(t, []string{"immutable Forbidden", "data Forbidden"}, text(validate(t.Context(), &corev1.ConfigMap{}, old)))
	large := &corev1.ConfigMap{Data: map[string]string{"a": string(make([]byte, maxData+1))}}
	require.Len(t, validate(t.Context(), large, nil), 1)
}

func TestSecret(t *testing.T) {
	s := &corev1.Secret{StringData: map[string]string{"a": "1"}}
	defaultSecret(s)
	require.Equal(t, corev1.SecretTypeOpaque, s.Type)
	require.Equal(t, map[string][]byte{"a": []byte("1")}, s.Data)
	require.Nil(t, s.StringData)

	validate := Secrets().Validate
	require.Equal(t, []string{"data[tls.crt] Required value", "data[tls.key] Required value"},
		text(validate(t.Context(), &corev1.Secret{Type: corev1.SecretTypeTLS}, nil)))
	bad := &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{".dockerconfigjson": []byte("hunter2")}}
	errs := validate(t.Context(), bad, nil)
	require.Equal(t, []string{"data[.dockerconfigjson] Invalid value"}, text(errs))
	require.NotContains(t, errs.ToAggregate().Error(), "hunter2")
	require.Equal(t, []string{"type Invalid value"}, text(validate(t.Context(), &corev1.Secret{Type: "b"}, &corev1.Secret{Type: "a"})))
}

func TestNamespace(t *testing.T) {
	res := Namespaces()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	res.Default(n)
	res.Prepare(t.Context(), n, nil)
	require.Equal(t, "a", n.Labels[corev1.LabelMetadataName])
	require.Equal(t, corev1.NamespaceActive, n.Status.Phase)
	require.False(t, res.Finalized(n))
	res.BeginDelete(n)
	require.Equal(t, corev1.NamespaceTerminating, n.Status.Phase)
	n.Spec.Finalizers = nil
	require.True(t, res.Finalized(n))
}

func TestNode(t *testing.T) {
	n := &corev1.Node{Status: corev1.NodeStatus{Capacity: corev1.ResourceList{"cpu": resource.MustParse("4")}}}
	n.Spec.PodCIDRs = []string{"10.0.0.0/24"}
	defaultNode(n)
	require.Equal(t, "4", n.Status.Allocatable.Cpu().String())
	require.Equal(t, "10.0.0.0/24", n.Spec.PodCIDR)
	validate := Nodes().Validate
	require.Empty(t, validate(t.Context(), n, nil))
	moved := n.DeepCopy()
	moved.Spec.PodCIDR, moved.Spec.PodCIDRs = "10.1.0.0/24", []string{"10.1.0.0/24"}
	require.Equal(t, []string{"spec.podCIDRs Forbidden"}, text(validate(t.Context(), moved, n)))
	n.Spec.Taints = []corev1.Taint{{Key: "a", Effect: "NoSchedule"}, {Key: "a", Effect: "NoSchedule"}}
	require.Equal(t, []string{"metadata.taints[1] Duplicate value"}, text(validate(t.Context(), n, nil)))
}

// TestEventViews: an event goes through its other home and comes back as it was.
func TestEventViews(t *testing.T) {
	view := Events().Views[1]
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching("[a-z]{0,5}")
		e := &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: word.Draw(t, "name"), Namespace: "default"},
			Reason:     word.Draw(t, "reason"), Message: word.Draw(t, "message"), Type: word.Draw(t, "type"),
			Action: word.Draw(t, "action"), ReportingController: word.Draw(t, "controller"), ReportingInstance: word.Draw(t, "instance"),
			InvolvedObject: corev1.ObjectReference{Kind: word.Draw(t, "kind"), Name: word.Draw(t, "object")},
			Source:         corev1.EventSource{Component: word.Draw(t, "component")}, Count: rapid.Int32().Draw(t, "count"),
			EventTime: metav1.NewMicroTime(time.Unix(rapid.Int64Range(0, 1<<31).Draw(t, "time"), 0)),
		}
		if rapid.Bool().Draw(t, "series") {
			e.Series = &corev1.EventSeries{Count: 3}
		}
		other, err := view.FromHub(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := view.ToHub(other.(*eventsv1.Event))
		if err != nil {
			t.Fatal(err)
		}
		require.Equal(t, e, back)
	})
}

func TestEventValidation(t *testing.T) {
	validate := Events().Validate
	e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "a"}, InvolvedObject: corev1.ObjectReference{Namespace: "b"}}
	require.Equal(t, []string{"involvedObject.namespace Invalid value"}, text(validate(context.Background(), e, nil)))
	e.InvolvedObject.Namespace = "a"
	require.Empty(t, validate(context.Background(), e, nil))
	e.EventTime = metav1.NowMicro()
	require.Contains(t, text(validate(context.Background(), e, nil)), "reportingInstance Required value")
}
