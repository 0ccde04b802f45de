package forms

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"pgregory.net/rapid"
)

var words = rapid.SampledFrom([]string{"", "a", "A", "a.b/C", "A.b/c", "a/b/c", "-a", "é", strings.Repeat("a", 64), "In"})

func TestMeta(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.MapOfN(words, words, 0, 2).Draw(t, "map")
		require.Equal(t, len(metavalidation.ValidateLabels(m, nil)) == 0, AreLabels(m))
		if AreAnnotations(m) {
			require.Empty(t, validation.ValidateAnnotations(m, nil))
		}
		s := &metav1.LabelSelector{MatchLabels: m}
		for range rapid.IntRange(0, 2).Draw(t, "expressions") {
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{
				Key: words.Draw(t, "key"), Operator: rapid.SampledFrom([]metav1.LabelSelectorOperator{"In", "NotIn", "Exists", "DoesNotExist", "", "Gt"}).Draw(t, "operator"),
				Values: rapid.SliceOfN(words, 0, 2).Draw(t, "values"),
			})
		}
		wrong := metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, nil)
		require.Equal(t, len(wrong) == 0, IsSelector(s))
	})
	require.True(t, IsSelector(nil))
}

func TestAnnotationsSize(t *testing.T) {
	require.True(t, AreAnnotations(map[string]string{"a": strings.Repeat("x", validation.TotalAnnotationSizeLimitB-1)}))
	require.False(t, AreAnnotations(map[string]string{"a": strings.Repeat("x", validation.TotalAnnotationSizeLimitB)}))
}
