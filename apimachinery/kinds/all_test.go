package kinds_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds"
)

// TestAll: every package below has a part in All, and all parts fit into one registry.
func TestAll(t *testing.T) {
	_, err := apimachinery.NewRegistry(kinds.All()...)
	require.NoError(t, err)
	source, err := os.ReadFile("all.go")
	require.NoError(t, err)
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	folders := 0
	for _, e := range entries {
		if e.IsDir() {
			folders++
			require.Contains(t, string(source), e.Name()+".Resources()")
		}
	}
	require.Positive(t, folders)

	one, other := kinds.All(), kinds.All()
	one[0].Name.Resource = "changed"
	require.NotEqual(t, one[0].Name, other[0].Name)
}

// A registry that knows every built-in kind, as a client's or a server's.
func Example() {
	registry, err := apimachinery.NewRegistry(kinds.All()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	found, _ := registry.ForType(&appsv1.Deployment{})
	fmt.Println(found.View.GroupVersionKind)
	// Output: apps/v1, Kind=Deployment
}

// All are plain data, which can be looked through.
func ExampleAll() {
	var groups []string
	for _, r := range kinds.All() {
		groups = append(groups, r.Name.Group)
	}
	slices.Sort(groups)
	fmt.Println(strings.Join(slices.Compact(groups), "\n"))
	// Output:
	// apps
	// certificates.k8s.io
	// coordination.k8s.io
	// discovery.k8s.io
	// networking.k8s.io
	// node.k8s.io
	// rbac.authorization.k8s.io
	// scheduling.k8s.io
	// storage.k8s.io
	// storagemigration.k8s.io
}
