package managedfields_test

import (
	"bytes"
	_ "embed"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/bedplate/bedplate/apimachinery/managedfields"
)

//go:embed testdata/pod.json
var podJSON []byte

// benchPod is a pod, its update to another image and label, and its entries after the create.
type benchPod struct {
	*kind
	created, updated []byte
	managed          []metav1.ManagedFieldsEntry
	patch            []byte
}

func by(name string) managedfields.Manager {
	return managedfields.Manager{Name: name, APIVersion: "v1", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func newBenchPod(b *testing.B) *benchPod {
	p := &benchPod{kind: newKind(b, applyconfigurations.NewTypeConverter(scheme.Scheme), corev1.SchemeGroupVersion.WithKind("Pod"), true)}
	p.created = p.normalize(b, podJSON)
	p.updated = bytes.Replace(bytes.Replace(p.created, []byte("web:1.2.3"), []byte("web:1.2.4"), 1), []byte(`"tier":"frontend"`), []byte(`"tier":"backend","x":"y"`), 1)
	p.patch = []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-7d9c5b8f6c-x2x4z","labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":"registry.example.com/web:1.2.4"}]}}`)
	var err error
	p.managed, err = managedfields.Update(p.typ, nil, p.created, nil, by("kubectl"), managedfields.Paths("status"))
	require.NoError(b, err)
	return p
}

func BenchmarkCreate(b *testing.B) {
	p := newBenchPod(b)
	reset := managedfields.Paths("status")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := managedfields.Update(p.typ, nil, p.created, nil, by("kubectl"), reset); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(p.created)), "bytes")
}

// The same of Go values.
func BenchmarkCreateObject(b *testing.B) {
	p := newBenchPod(b)
	reset, obj := managedfields.Paths("status"), p.object(b, p.created)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := managedfields.UpdateObject(p.typ, nil, obj, nil, by("kubectl"), reset); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// An update of Go values.
func BenchmarkUpdateObject(b *testing.B) {
	p := newBenchPod(b)
	reset, live, obj := managedfields.Paths("status"), p.object(b, p.created), p.object(b, p.updated)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := managedfields.UpdateObject(p.typ, live, obj, p.managed, by("controller"), reset); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	p := newBenchPod(b)
	reset := managedfields.Paths("status")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := managedfields.Update(p.typ, p.created, p.updated, p.managed, by("controller"), reset); err != nil {
			b.Fatal(err)
		}
	}
}

// An update that changes nothing that anybody owns.
func BenchmarkUpdateUnchanged(b *testing.B) {
	p := newBenchPod(b)
	p.updated = bytes.Replace(p.created, []byte(`"name"`), []byte(`"resourceVersion":"7","name"`), 1)
	reset := managedfields.Paths("status")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := managedfields.Update(p.typ, p.created, p.updated, p.managed, by("controller"), reset); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	p := newBenchPod(b)
	reset := managedfields.Paths("status")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := managedfields.Apply(p.typ, p.created, p.patch, p.managed, by("applier"), true, reset); err != nil {
			b.Fatal(err)
		}
	}
}

// The same by k8s.io/apimachinery's field manager, copies of its arguments (2 µs each) included.
func BenchmarkKubernetes(b *testing.B) {
	p := newBenchPod(b)
	created, updated := p.object(b, p.created), p.object(b, p.updated)
	empty := p.empty()
	with := created.DeepCopyObject()
	with.(*corev1.Pod).ManagedFields = p.managed
	patch := &unstructured.Unstructured{}
	require.NoError(b, utiljson.Unmarshal(p.patch, &patch.Object))
	update := func(live, obj runtime.Object) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.main.Update(live, obj.DeepCopyObject(), "controller"); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("create", update(empty, created))
	b.Run("update", update(with, updated))
	b.Run("unchanged", update(with, created))
	b.Run("apply", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.main.Apply(with, patch, "applier", true); err != nil {
				b.Fatal(err)
			}
		}
	})
}
