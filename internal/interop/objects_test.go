package interop

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
)

type databaseSpec struct {
	Engine string `json:"engine,omitempty"`
	SizeGB int    `json:"sizeGB"`
}

func (s *databaseSpec) Default() {
	if s.Engine == "" {
		s.Engine = "postgres"
	}
}

func (s *databaseSpec) Validate(path *field.Path) field.ErrorList {
	if s.SizeGB < 1 {
		return field.ErrorList{field.Invalid(path.Child("sizeGB"), s.SizeGB, "must be at least 1")}
	}
	return nil
}

type databaseStatus struct {
	Ready bool `json:"ready,omitempty"`
}

func databases() apimachinery.Resource {
	return apimachinery.Define[databaseSpec, databaseStatus](
		schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Database"}, "databases")
}

// start starts a control plane on disk and returns an administrator's kubeconfig.
func start(t *testing.T, c bedplate.Config) (*bedplate.ControlPlane, []byte) {
	t.Helper()
	c.Dir = t.TempDir()
	p, err := bedplate.Start(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Stop()) })
	kubeconfig, err := p.Kubeconfig("admin", "system:masters")
	require.NoError(t, err)
	return p, kubeconfig
}

// TestObjects is step S1's proof: unmodified kubectl creates, applies both ways, patches, watches, explains and
// deletes.
func TestObjects(t *testing.T) {
	_, kubeconfig := start(t, bedplate.Config{Resources: []apimachinery.Resource{databases()}})
	runScript(t, "objects.txt", kubeconfig, nil)
}

func TestWatch(t *testing.T) {
	_, kubeconfig := start(t, bedplate.Config{})
	k := newKubectl(t, kubeconfig)
	do := func(command string) {
		out, err := k.shell(t.Context(), command, "")
		require.NoError(t, err, out)
	}
	do("kubectl create namespace team && kubectl create -n team configmap first")
	lines, stop := k.lines(t, "kubectl get configmaps -n team --watch --output-watch-events -o custom-columns=TYPE:.type,NAME:.object.metadata.name,DATA:.object.data")
	defer stop()
	next(t, lines, "ADDED...first...")
	do("kubectl create -n team configmap second --from-literal=a=b")
	next(t, lines, "ADDED...second...map[a:b]")
	do("kubectl patch -n team configmap second --type=merge -p '{\"data\":{\"a\":\"c\"}}'")
	next(t, lines, "MODIFIED...second...map[a:c]")
	do("kubectl delete -n team configmap second")
	next(t, lines, "DELETED...second...")
}
