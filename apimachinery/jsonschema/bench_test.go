package jsonschema_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"

	"github.com/bedplate/bedplate/apimachinery/jsonschema"
)

type benchKind struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              struct {
		Replicas int32                  `json:"replicas,omitempty" schema:"default=1,minimum=0"`
		Mode     string                 `json:"mode,omitempty" schema:"enum=a|b,default=a"`
		Template corev1.PodTemplateSpec `json:"template"`
	} `json:"spec"`
}

// benchObject is an object of about 3 KB.
func benchObject(b *testing.B) map[string]any {
	container := `{"name":"c%d","image":"registry.example.com/app:1.2.3","args":["--verbose","--port=8080"],"ports":[{"containerPort":80,"name":"http","protocol":"TCP"}],
"env":[{"name":"A","value":"some value"},{"name":"B","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}],"resources":{"requests":{"cpu":"100m","memory":"128Mi"},"limits":{"memory":"256Mi"}},
"readinessProbe":{"httpGet":{"path":"/healthz","port":"http"},"periodSeconds":10},"volumeMounts":[{"name":"data","mountPath":"/data"}],"securityContext":{"runAsNonRoot":true}}`
	all := ""
	for i := range 5 {
		all += fmt.Sprintf(container, i) + ","
	}
	return object(b, `{"apiVersion":"example.com/v1","kind":"B","metadata":{"name":"x","labels":{"app":"x"}},"spec":{"template":{"metadata":{"labels":{"app":"x"}},
"spec":{"nodeSelector":{"disk":"ssd"},"volumes":[{"name":"data","emptyDir":{}}],"containers":[`+all[:len(all)-1]+`]}}}}`)
}

// BenchmarkObject prunes, defaults and validates an object; decoding it is the floor.
func BenchmarkObject(b *testing.B) {
	props, err := jsonschema.FromGo(&benchKind{})
	require.NoError(b, err)
	s, err := jsonschema.Compile(props)
	require.NoError(b, err)
	o := benchObject(b)
	require.Empty(b, s.Prune(o))
	s.Default(o)
	require.Empty(b, s.Validate(nil, o, nil))
	raw, err := json.Marshal(o)
	require.NoError(b, err)

	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			s.Prune(o)
			s.Default(o)
			s.Validate(nil, o, nil)
		}
	})
	b.Run("update", func(b *testing.B) {
		old := apiruntime.DeepCopyJSON(o)
		b.ReportAllocs()
		for b.Loop() {
			s.Validate(nil, o, old)
		}
	})
	b.Run("floor-decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			var v map[string]any
			if err := json.Unmarshal(raw, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCompile compiles the schema of a kind with a pod template, and reports what a Schema keeps.
func BenchmarkCompile(b *testing.B) {
	props, err := jsonschema.FromGo(&benchKind{})
	require.NoError(b, err)
	raw, err := json.Marshal(props)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jsonschema.Compile(props); err != nil {
			b.Fatal(err)
		}
	}
	const n = 50
	kept := map[int]*jsonschema.Schema{}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		kept[i], err = jsonschema.Compile(props)
		require.NoError(b, err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n/1024, "kB/schema")
	b.ReportMetric(float64(len(raw))/1024, "kB/JSON")
	runtime.KeepAlive(maps.Clone(kept))
}
