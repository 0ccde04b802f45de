package apimachinery_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

func TestDecodeMetadata(t *testing.T) {
	for _, c := range []struct {
		raw, name string
		bad       bool
	}{
		{raw: `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","labels":{"x":"y"}},"spec":{}}`, name: "a"},
		{raw: `{"spec":{"metadata":{"name":"inner"}},"metadata":{"name":"a"}}`, name: "a"},
		{raw: `{"kind":"Pod"}`},
		{raw: `{}`},
		{raw: ``, bad: true},
		{raw: `{"metadata":{"name":1}}`, bad: true},
		{raw: `{"metadata":{"name":"a"`, bad: true},
	} {
		var m metav1.ObjectMeta
		err := apimachinery.DecodeMetadata([]byte(c.raw), &m)
		require.Equal(t, c.bad, err != nil, "%s: %v", c.raw, err)
		if !c.bad {
			require.Equal(t, c.name, m.Name, c.raw)
		}
	}
}
