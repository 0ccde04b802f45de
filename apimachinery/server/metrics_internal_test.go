package server

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// BenchmarkMetrics is what counting costs a request: it should be less than a microsecond.
func BenchmarkMetrics(b *testing.B) {
	m, err := newMetrics(prometheus.NewRegistry())
	require.NoError(b, err)
	r, err := apimachinery.NewRegistry(core.Pods())
	require.NoError(b, err)
	s := &Server{c: Config{Registry: r}, metrics: m}
	q := &apimachinery.Request{Verb: "get", Resource: corev1.SchemeGroupVersion.WithResource("pods"), Namespace: "default", Name: "a"}
	resp := &apimachinery.Response{Body: make([]byte, 1000)}
	b.ReportAllocs()
	for b.Loop() {
		s.begin(q)(resp, nil)
	}
}
