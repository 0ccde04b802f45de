package garbagecollector

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

var kind = schema.GroupKind{Kind: "ConfigMap"}

func object(name string, owners ...string) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.Namespace, o.Name, o.UID = "default", name, types.UID(name)
	yes := true
	for _, owner := range owners {
		o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{
			APIVersion: "v1", Kind: "ConfigMap", Name: owner, UID: types.UID(owner), BlockOwnerDeletion: &yes,
		})
	}
	return o
}

func ending(o *metav1.PartialObjectMetadata, finalizer string) *metav1.PartialObjectMetadata {
	o.DeletionTimestamp, o.Finalizers = &metav1.Time{}, []string{finalizer}
	return o
}

func TestGraph(t *testing.T) {
	g := NewGraph()
	require.Empty(t, g.Put(kind, object("owner")))
	require.Empty(t, g.Put(kind, object("a", "owner")))
	require.ElementsMatch(t, []types.UID{"ghost"}, g.Put(kind, object("b", "owner", "ghost")), "nobody has seen the ghost")
	require.Equal(t, []types.UID{"ghost"}, g.Virtual())
	require.Empty(t, g.Put(kind, object("b", "owner")))
	require.Empty(t, g.Virtual(), "nobody speaks of it any more")

	owner, _ := g.Get("owner")
	require.Len(t, owner.Dependents(), 2)
	require.Len(t, owner.Blocking(), 2)
	require.ElementsMatch(t, []types.UID{"owner", "a", "b"}, g.Put(kind, ending(object("owner"), metav1.FinalizerDeleteDependents)))
	require.Empty(t, g.Put(kind, ending(object("owner"), metav1.FinalizerDeleteDependents)), "it is known")
	require.ElementsMatch(t, []types.UID{"owner"}, g.Remove("a"), "the owner may not have to wait any more")
	require.ElementsMatch(t, []types.UID{"owner"}, g.Put(kind, object("b")))
	require.Empty(t, g.Remove("owner"))
	require.Empty(t, g.Remove("owner"))

	require.Equal(t, []types.UID{"x"}, g.Put(kind, object("c", "x")))
	require.Empty(t, g.Put(kind, object("x")))
	require.Equal(t, []types.UID{"c"}, g.Remove("x"))

	named := object("e", "y")
	named.OwnerReferences[0].Name = "another"
	g.Put(kind, object("d", "y"))
	g.Put(kind, named)
	require.Equal(t, []types.UID{"e"}, g.Put(kind, object("y")), "y has another name than e says")
}

// TestGraphHoldsWhatItWasTold compares the graph with one made anew, after random changes.
func TestGraphHoldsWhatItWasTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, have, retired := NewGraph(), map[string]*metav1.PartialObjectMetadata{}, map[string]bool{}
		name := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint("o", rapid.IntRange(0, 15).Draw(t, "n")) })
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			at := name.Draw(t, "name")
			if rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
				g.Remove(types.UID(at))
				delete(have, at)
				retired[at] = true
			}
			if retired[at] {
				continue // uids never return
			}
			o := object(at, rapid.SliceOfNDistinct(name, 0, 3, rapid.ID[string]).Draw(t, "owners")...)
			g.Put(kind, o)
			have[at] = o
		}
		fresh := NewGraph()
		for _, o := range have {
			fresh.Put(kind, o)
		}
		for _, o := range have {
			require.Equal(t, dependents(fresh, o.UID), dependents(g, o.UID))
			for _, r := range o.OwnerReferences {
				n, ok := g.Get(r.UID)
				if _, there := have[r.Name]; there {
					require.True(t, ok && !n.Virtual)
				}
			}
		}
	})
}

func dependents(g *Graph, uid types.UID) (out []types.UID) {
	n, ok := g.Get(uid)
	if !ok {
		return nil
	}
	for _, d := range n.Dependents() {
		out = append(out, d.UID)
	}
	slices.Sort(out)
	return out
}

func TestJudge(t *testing.T) {
	g := NewGraph()
	g.Put(kind, object("n"))
	alone, _ := g.Get("n")
	g.Put(kind, object("m"))
	g.Put(kind, object("child", "m"))
	parent, _ := g.Get("m")
	g.Put(kind, object("k"))
	g.Put(kind, ending(object("slow", "k"), metav1.FinalizerDeleteDependents))
	circular, _ := g.Get("k")
	for _, test := range []struct {
		n      *Node
		states []State
		want   Verdict
	}{
		{alone, nil, Keep},
		{alone, []State{Solid, Solid}, Keep},
		{alone, []State{Solid, Absent}, Trim},
		{alone, []State{Solid, Waiting}, Trim},
		{alone, []State{Absent}, Delete},
		{nil, []State{Absent, Waiting}, Delete},
		{alone, []State{Waiting}, Delete},
		{parent, []State{Waiting}, DeleteForeground},
		{parent, []State{Absent}, Delete},
		{circular, []State{Waiting}, Unblock},
	} {
		require.Equal(t, test.want, Judge(test.n, test.states), "%v", test)
	}
}

func ExampleGraph() {
	g := NewGraph()
	g.Put(kind, object("owner"))
	g.Put(kind, object("dependent", "owner"))
	fmt.Println("look at", g.Remove("owner"))
	// Output: look at [dependent]
}

func BenchmarkPut(b *testing.B) {
	g := NewGraph()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		g.Put(kind, object(fmt.Sprint("o", n%20_000), fmt.Sprint("owner", n%100)))
		n++
	}
}
