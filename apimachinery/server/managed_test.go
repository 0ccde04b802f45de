package server_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// A patch says nothing of managedFields unless it names them, however they are written; then it can reset them.
func TestPatchesAndManagedFields(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, _ *world) {
		by := func(manager string, r *apimachinery.Request) *apimachinery.Request {
			r.Options = &metav1.PatchOptions{FieldManager: manager}
			return r
		}
		made := create(databases, newDatabase("a"))
		made.Options = &metav1.CreateOptions{FieldManager: "creator"}
		must[database](t, d, made)
		managers := func(o *database) (names []string) {
			for _, m := range o.ManagedFields {
				names = append(names, m.Manager)
			}
			return names
		}
		for i, typ := range []string{mergePatch, strategic} {
			o := must[database](t, d, by(fmt.Sprint("patcher", i), patch(databases, "a", typ, fmt.Sprintf(`{"metadata":{"labels":{"n%d":"v"}}}`, i))))
			require.Contains(t, managers(o), "creator")
			require.Contains(t, managers(o), fmt.Sprint("patcher", i))
		}
		for _, name := range []string{`managedFields`, `m\u0061nagedFields`} {
			o := must[database](t, d, by("patcher", patch(databases, "a", mergePatch, `{"metadata":{"labels":{"x":"y"}, "`+name+`":[{}]}}`)))
			require.NotContains(t, managers(o), "creator", name)
		}
	})
}

// Updates that say nothing of a version each begin anew where others were faster: none is mixed with another.
func TestUpdatesBeginAnew(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, _ *world) {
		must[database](t, d, create(databases, newDatabase("a")))
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				for n := range 5 {
					o := newDatabase("a")
					o.Labels = map[string]string{"writer": fmt.Sprint(i), fmt.Sprintf("w%d", i): fmt.Sprint(n)}
					body, _, err := do(t, d, update(databases, o))
					if err != nil {
						continue // Conflict: others were faster too often
					}
					var got database
					if err := apimachinery.DecodeLoose(body, &got); err != nil {
						t.Error(err)
					} else if len(got.Labels) != 2 || got.Labels[fmt.Sprintf("w%d", i)] != fmt.Sprint(n) {
						t.Errorf("writer %d got %v", i, got.Labels)
					}
				}
			})
		}
		group.Wait()
	})
}
