package crd

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func names(plural, kind string, short ...string) apiext.CustomResourceDefinitionNames {
	return apiext.CustomResourceDefinitionNames{Plural: plural, Singular: plural + "1", Kind: kind, ListKind: kind + "List", ShortNames: short}
}

func TestAccept(t *testing.T) {
	others := newTaken()
	have := names("things", "Thing", "th")
	others.add(&have)
	for name, c := range map[string]struct {
		want   apiext.CustomResourceDefinitionNames
		reason string
	}{
		"free":     {names("others", "Other", "o"), ""},
		"plural":   {names("things", "Other"), "SingularConflict"}, // the last that conflicts is told
		"kind":     {names("others", "Thing"), "ListKindConflict"},
		"short":    {names("others", "Other", "o", "th"), "ShortNamesConflict"},
		"as short": {names("th", "Other"), "PluralConflict"},
	} {
		got, reason, err := accept(c.want, apiext.CustomResourceDefinitionNames{}, others)
		require.Equal(t, c.reason, reason, name)
		require.Equal(t, c.reason == "", err == nil, name)
		if err == nil {
			require.Equal(t, c.want, got, name)
		}
	}
	got, reason, _ := accept(names("things", "Thing", "th", "x"), have, others)
	require.Empty(t, reason, "what it has stays its own")
	require.Equal(t, []string{"th", "x"}, got.ShortNames)
}

// TestJudgeIsIdempotent: who judges again what was judged writes nothing, whatever the time.
func TestJudgeIsIdempotent(t *testing.T) {
	d := &apiext.CustomResourceDefinition{Spec: apiext.CustomResourceDefinitionSpec{Group: "x.k8s.io", Names: names("things", "Thing")}}
	now := metav1.Unix(1, 0)
	require.True(t, judge(d, newTaken(), now))
	require.True(t, isTrue(d, apiext.Established))
	require.False(t, judge(d, newTaken(), metav1.NewTime(now.Add(time.Hour))))
}
