package kinds

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1internal "k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/internal/peers/corpus"
)

// TestBinding: a binding is refused for the same fields, and by the same causes.
func TestBinding(t *testing.T) {
	k, mutate := newKubernetes(), core.Pods().Subs["binding"].Mutate
	bindings, err := corpus.Load(corev1.SchemeGroupVersion.WithKind("Binding"), func() *corev1.Binding { return &corev1.Binding{} })
	require.NoError(t, err)
	var all []apimachinery.Object
	for _, b := range bindings {
		all = append(all, b)
	}
	m, count := newMutator(*seed, all...), 0
	compare := func(what string, o object) {
		in, err := k.internal(o)
		require.NoError(t, err)
		want := map[string]bool{}
		for _, e := range corevalidation.ValidatePodBinding(in.(*corev1internal.Binding)) {
			want[e.Field+" | "+string(e.Type)] = true
		}
		have := map[string]bool{}
		err = mutate(background(), &corev1.Pod{}, o)
		if status := apierrors.APIStatus(nil); errors.As(err, &status) {
			require.True(t, apierrors.IsInvalid(err), "%s: %v", what, err)
			for _, c := range status.Status().Details.Causes {
				have[c.Field+" | "+string(c.Type)] = true
			}
		}
		require.Equal(t, want, have, what)
		count++
	}
	for _, o := range all {
		compare("corpus: "+o.GetName(), o)
		m.each(o, 1, compare)
	}
	t.Logf("%d bindings compared", count)
}
