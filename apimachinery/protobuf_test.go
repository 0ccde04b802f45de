package apimachinery_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/bedplate/bedplate/apimachinery"
)

// promoted has the methods of what it embeds, which encode that alone.
type promoted struct {
	corev1.ConfigMap
	More string
}

func TestHasProtobuf(t *testing.T) {
	for _, o := range []runtime.Object{&corev1.Pod{}, &metav1.Status{}, &metav1.DeleteOptions{}, &metav1.PartialObjectMetadata{}} {
		require.True(t, apimachinery.HasProtobuf(o), "%T", o)
	}
	for _, o := range []runtime.Object{&promoted{}, &apimachinery.Typed[struct{}, struct{}]{}, nil} {
		require.False(t, apimachinery.HasProtobuf(o), "%T", o)
	}
}

// TestEnvelope holds the envelope against Kubernetes' own type.
func TestEnvelope(t *testing.T) {
	for _, name := range []string{"", "a", string(make([]byte, 200))} {
		o := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: name}}
		got, err := apimachinery.EncodeProtobuf(o)
		require.NoError(t, err)
		raw, err := o.Marshal()
		require.NoError(t, err)
		u := runtime.Unknown{TypeMeta: runtime.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"}, Raw: raw}
		want, err := u.Marshal()
		require.NoError(t, err)
		require.Equal(t, apimachinery.ProtobufMagic+string(want), string(got))
		require.Equal(t, len(got), apimachinery.EnvelopeLen(o.GroupVersionKind(), len(raw)))

		asJSON, err := apimachinery.FromProtobuf(got, &corev1.ConfigMap{})
		require.NoError(t, err)
		encoded, err := apimachinery.Encode(o)
		require.NoError(t, err)
		require.Equal(t, string(encoded), string(asJSON))
	}
}

// TestProtobufDepth: what lies too deep in itself is refused before the generated readers, which know no limit, see it.
func TestProtobufDepth(t *testing.T) {
	deep := []byte{}
	for range 100_000 {
		deep = append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(deep))), deep[:min(len(deep), 40)]...)
	}
	nested := []byte{}
	for range 3000 {
		nested = append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(nested))), nested...)
	}
	body := apimachinery.AppendEnvelope(nil, corev1.SchemeGroupVersion.WithKind("ConfigMap"), len(nested))
	body = append(append(body, nested...), apimachinery.EnvelopeTail...)
	_, err := apimachinery.FromProtobuf(body, &corev1.ConfigMap{})
	require.ErrorContains(t, err, "nested deeper")
	for _, body := range []string{"", "k8s\x00", "k8s\x00\xff", "{}", "k8s\x00" + string(deep)} {
		_, err := apimachinery.FromProtobuf([]byte(body), &corev1.ConfigMap{})
		if body != "k8s\x00" { // an empty object
			require.Error(t, err, "%.20q", body)
		}
	}
}

func FuzzFromProtobuf(f *testing.F) {
	seed, err := apimachinery.EncodeProtobuf(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
	require.NoError(f, err)
	f.Add(seed)
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = apimachinery.FromProtobuf(body, &corev1.Pod{}) // it returns
	})
}
