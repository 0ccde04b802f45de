//go:build unix

package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// BenchmarkWrite is what each kind of write to a pod of 2.9 KB costs, from a body to a body, without HTTP and with
// the store in memory. Each writes to a pod that was created by another manager and not written to since.
func BenchmarkWrite(b *testing.B) {
	body, err := json.Marshal(pod("NAME"))
	require.NoError(b, err)
	name := func(i int) string { return fmt.Sprintf("pod-%d", i) }
	named := func(i int) []byte { return bytes.Replace(body, []byte("NAME"), []byte(name(i)), 1) }
	force := true
	created := func(i int) *apimachinery.Request {
		return &apimachinery.Request{Verb: "create", Resource: pods, Namespace: "default", Body: named(i), Options: &metav1.CreateOptions{FieldManager: "creator"}}
	}
	patched := func(typ, body string) func(int, []byte) *apimachinery.Request {
		return func(i int, _ []byte) *apimachinery.Request {
			return &apimachinery.Request{Verb: "patch", Resource: pods, Namespace: "default", Name: name(i), Body: []byte(body), ContentType: typ,
				Options: &metav1.PatchOptions{FieldManager: "patcher"}}
		}
	}
	for _, w := range []struct {
		name string
		do   func(i int, stored []byte) *apimachinery.Request
	}{
		{"create", func(i int, _ []byte) *apimachinery.Request { return created(i) }},
		{"update", func(i int, stored []byte) *apimachinery.Request {
			return &apimachinery.Request{Verb: "update", Resource: pods, Namespace: "default", Name: name(i),
				Body:    bytes.Replace(stored, []byte(`"tier":"front"`), []byte(`"tier":"back"`), 1),
				Options: &metav1.UpdateOptions{FieldManager: "updater"}}
		}},
		{"merge", patched(mergePatch, `{"metadata":{"labels":{"n":"v"}}}`)},
		{"strategic", patched("application/strategic-merge-patch+json", `{"spec":{"containers":[{"name":"c0","image":"registry.example.com/team/web:v1.2.4"}]}}`)},
		{"apply", func(i int, _ []byte) *apimachinery.Request {
			return &apimachinery.Request{Verb: "patch", Resource: pods, Namespace: "default", Name: name(i), Body: named(i), ContentType: "application/apply-patch+yaml",
				Options: &metav1.PatchOptions{FieldManager: "applier", Force: &force}}
		}},
	} {
		b.Run(w.name, func(b *testing.B) {
			world := benchWorld(b)
			d := world.s.As(tester)
			stored := make([][]byte, b.N+1)
			for i := 1; i <= b.N && w.name != "create"; i++ {
				resp, err := d.Do(context.Background(), created(i))
				require.NoError(b, err)
				stored[i] = resp.Body
			}
			measured(b, 4, func(i int) {
				resp, err := d.Do(context.Background(), w.do(i, stored[i]))
				drain(b, resp, err)
			})
		})
	}
}
