package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate"
)

// TestKinds does the same with every kind of discovery: explains it, creates it, shows, describes, patches, applies and deletes
// it. testdata/kinds has a manifest for each, and below it, as comments, what "get -o wide" prints.
func TestKinds(t *testing.T) {
	_, kubeconfig := start(t, bedplate.Config{})
	k := newKubectl(t, kubeconfig)
	out, err := k.shell(t.Context(), "kubectl api-resources -o json", "")
	require.NoError(t, err, out)
	var list metav1.APIResourceList
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	require.Greater(t, len(list.APIResources), 60)
	for _, r := range list.APIResources {
		name := strings.TrimSuffix(r.Name+"."+r.Group, ".")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newKindTest(t, k, name, r).run()
		})
	}
}

type kindTest struct {
	*testing.T
	k              *kubectl
	name           string // as in pods or deployments.apps
	r              metav1.APIResource
	manifest, wide string
	object         string // "-n NAMESPACE PLURAL NAME"
	objectName     string
}

func newKindTest(t *testing.T, k *kubectl, name string, r metav1.APIResource) *kindTest {
	text, err := os.ReadFile(filepath.Join("testdata", "kinds", name+".yaml"))
	if os.IsNotExist(err) && name == "componentstatuses" {
		text, err = nil, nil // it can only be read
	}
	require.NoError(t, err, "every kind needs a manifest")
	namespace := "of-" + r.Name + "-" + strings.ReplaceAll(strings.TrimSuffix(r.Group, ".k8s.io"), ".", "-") + "-kind"
	kt := &kindTest{T: t, k: k, name: name, r: r}
	for line := range strings.Lines(strings.ReplaceAll(string(text), "$NAMESPACE", namespace)) {
		if wide, ok := strings.CutPrefix(line, "# "); ok {
			kt.wide += wide
		} else {
			kt.manifest += line
		}
	}
	kt.object = "-n " + namespace
	kt.do("kubectl create namespace " + namespace)
	return kt
}

// do runs a command with the manifest as its input.
func (t *kindTest) do(command string) string {
	t.Helper()
	out, err := t.k.shell(t.Context(), command, t.manifest)
	require.NoError(t, err, "%s\n%s", command, out)
	return out
}

func (t *kindTest) can(verb string) bool { return slices.Contains(t.r.Verbs, verb) }

func (t *kindTest) run() {
	version := strings.TrimPrefix(t.r.Group+"/"+t.r.Version, "/")
	out := t.do(fmt.Sprintf("kubectl explain %s --api-version=%s --recursive", t.r.Name, version))
	require.Regexp(t, `KIND: +`+t.r.Kind+"\n", out)
	require.Contains(t, out, "FIELDS:")
	require.Contains(t, out, "  apiVersion\t<string>")
	if !t.can("create") {
		t.do(fmt.Sprintf("kubectl get %s", t.name))
		return
	}
	if t.name == "bindings" {
		out, err := t.k.shell(t.Context(), "kubectl create "+t.object+" -f -", t.manifest)
		require.Error(t, err)
		require.Contains(t, out, `pods "none" not found`)
		return
	}
	if !t.can("get") {
		require.Contains(t, t.do("kubectl create "+t.object+" -f - -o yaml"), "status:", "a review")
		return
	}
	t.life()
}

// life is what an object goes through.
func (t *kindTest) life() {
	t.do("kubectl create " + t.object + " --dry-run=server --validate=strict -f -")
	name := strings.TrimSpace(t.do("kubectl create " + t.object + " -f - -o jsonpath={.metadata.name}"))
	name = name[strings.LastIndex(name, "\n")+1:] // after warnings
	t.object, t.objectName = t.object+" "+t.name+" '"+name+"'", name

	wide := withoutWarnings(t.do("kubectl get -o wide " + t.object))
	require.True(t, pattern(t.wide).MatchString(wide), "%s\nwanted:\n%s", wide, t.wide)
	require.Equal(t, t.r.Kind, withoutWarnings(t.do("kubectl get -o jsonpath={.kind} "+t.object)))
	require.Regexp(t, `Name: +`+name, t.do("kubectl describe "+t.object))

	t.do("kubectl patch --type=strategic -p '{\"metadata\":{\"labels\":{\"one\":\"1\"}}}' " + t.object)
	t.do("kubectl patch --type=merge -p '{\"metadata\":{\"labels\":{\"two\":\"2\"}}}' " + t.object)
	t.do("kubectl patch --type=json -p '[{\"op\":\"add\",\"path\":\"/metadata/labels/three\",\"value\":\"3\"}]' " + t.object)
	labels := withoutWarnings(t.do("kubectl get -o jsonpath='{.metadata.labels.one}{.metadata.labels.two}{.metadata.labels.three}' " + t.object))
	require.Equal(t, "123", labels)

	namespace, _, _ := strings.Cut(t.object, " "+t.name)
	t.do("kubectl apply --server-side --force-conflicts " + namespace + " -f -")
	require.Contains(t, t.do("kubectl get --show-managed-fields -o jsonpath='{range .metadata.managedFields[*]}{.manager} {.operation}{\"\\n\"}{end}' "+t.object), "kubectl Apply\n")
	t.do("kubectl delete --timeout=60s " + t.object)
	out, err := t.k.shell(t.Context(), "kubectl get "+t.object, "")
	require.Error(t, err)
	require.Contains(t, out, "NotFound")
}

func withoutWarnings(out string) string {
	var kept strings.Builder
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "Warning: ") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
