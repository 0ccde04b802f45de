package roundtrip

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/randfill"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/internal/interop/plane"
)

// trip sends objects of one kind through a server.
type trip struct {
	*testing.T
	apimachinery.Found
	client dynamic.ResourceInterface
	raw    rest.Interface
	fill   *randfill.Filler
	rand   *rand.Rand

	stored, refused int
}

// TestServer: what a server accepts, it stores and gives back as it was sent, with nothing but defaults and what the
// server sets; in JSON and in protobuf alike; and who sends back what he got has changed nothing. Objects are those of the
// corpus, and those with something random in them.
func TestServer(t *testing.T) {
	s := pinned(t)
	p, config := plane.Start(t, bedplate.Config{})
	client, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	raw, err := rest.UnversionedRESTClientFor(unversioned(config))
	require.NoError(t, err)
	each(t, p.Registry(), func(t *testing.T, f apimachinery.Found) {
		if f.View.Unserved || f.Resource.Virtual != nil || f.Resource.Verbs != nil && !slices.Contains(f.Resource.Verbs, "create") {
			return
		}
		namespace := ""
		if f.Resource.Namespaced {
			namespace = "default"
		}
		r := &trip{T: t, Found: f, raw: raw, client: client.Resource(f.View.Resource()).Namespace(namespace), fill: newFiller(newScheme(t), s), rand: rand.New(rand.NewSource(s))}
		r.run(plane.Corpus(t, f.View.GroupVersionKind, f.Resource.Namespaced))
		t.Logf("%d stored, %d refused", r.stored, r.refused)
	})
}

func unversioned(c *rest.Config) *rest.Config {
	c = rest.CopyConfig(c)
	c.NegotiatedSerializer = clientscheme.Codecs.WithoutConversion()
	return c
}

func (r *trip) run(corpus []*unstructured.Unstructured) {
	for i, u := range corpus {
		r.one(u.DeepCopy(), fmt.Sprint("corpus ", i), i%2 == 1)
	}
	if len(corpus) == 0 {
		return
	}
	for i := range *objects {
		u := corpus[r.rand.Intn(len(corpus))].DeepCopy()
		what := r.spoil(u)
		r.one(u, fmt.Sprintf("random %d, %s", i, what), r.rand.Intn(2) == 1)
	}
	require.Positive(r, r.stored, "nothing was accepted")
}

// off are the fields of features that are alpha in v1.37, and so left out of what is stored.
var off = []string{".evictionResponders", ".schedulingGroup", ".podPreemptionPolicy", ".partitionTypeAttribute", ".skipNodeOperations", ".spec.scheduling:"}

// dropped are the fields that a server leaves out or sets itself, by kind: what has
// ceased to mean anything, and what only the server may say.
var dropped = map[string][]string{
	"Node":                      {".spec.configSource"},
	"PersistentVolumeClaim":     {".spec.dataSource"}, // of what can't be a source
	"ServiceAccount":            {".secrets["},        // all but the name
	"CertificateSigningRequest": {".spec.username", ".spec.uid", ".spec.groups", ".spec.extra"},
	"Lease":                     {".spec.strategy", ".spec.preferredHolder"},
	"EndpointSlice":             {".endpoints[0].deprecatedTopology", ".endpoints[1].deprecatedTopology"},
	"Service":                   {".spec.internalTrafficPolicy"}, // of an ExternalName
}

// spoil puts one part of a random object into another, and says which.
func (r *trip) spoil(u *unstructured.Unstructured) string {
	raw, err := json.Marshal(filled(r.fill, r.Found))
	require.NoError(r, err)
	from := map[string]any{}
	require.NoError(r, json.Unmarshal(raw, &from))
	delete(from, "metadata")
	delete(from, "status")
	delete(from, "apiVersion")
	delete(from, "kind")
	into, path := u.Object, ""
	for len(from) > 0 {
		keys := slices.Sorted(maps.Keys(from))
		k := keys[r.rand.Intn(len(keys))]
		path += "." + k
		a, deeper := from[k].(map[string]any)
		b, there := into[k].(map[string]any)
		if !deeper || !there || r.rand.Intn(8) == 0 {
			into[k] = from[k]
			break
		}
		from, into = a, b
	}
	return path
}

// typed is u in the kind's own Go type, and what is wrong with that.
func (r *trip) typed(u *unstructured.Unstructured) (apimachinery.Object, error) {
	raw, err := json.Marshal(u)
	require.NoError(r, err)
	o := r.New()
	return o, apimachinery.DecodeLoose(raw, o)
}

func (r *trip) one(u *unstructured.Unstructured, what string, binary bool) {
	r.Helper()
	o, err := r.typed(u)
	require.NoError(r, err, what)
	kinded(o, r.View.GroupVersionKind)
	sent, err := apimachinery.Encode(o)
	require.NoError(r, err)
	contentType := "application/json"
	if binary && apimachinery.HasProtobuf(o) {
		contentType = apimachinery.Protobuf
		sent, err = apimachinery.EncodeProtobuf(o)
		require.NoError(r, err)
	}
	body, err := r.raw.Post().AbsPath(r.path("")).SetHeader("Content-Type", contentType).SetHeader("Accept", "application/json").Body(sent).DoRaw(r.Context())
	if err != nil {
		if !apierrors.IsAlreadyExists(err) {
			require.True(r, apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err), "%s: %v\n%s", what, err, body)
		}
		r.refused++
		return
	}
	r.stored++
	made := &unstructured.Unstructured{}
	require.NoError(r, made.UnmarshalJSON(body))
	defer r.remove(made.GetName())
	r.kept(o, made, what)
	r.read(made, what)
}

func (r *trip) path(name string) string {
	return path(r.Found, name)
}

func path(f apimachinery.Found, name string) string {
	var p strings.Builder
	p.WriteString("/apis/" + f.View.Group)
	if f.View.Group == "" {
		p.Reset()
		p.WriteString("/api")
	}
	p.WriteString("/" + f.View.Version)
	if f.Resource.Namespaced {
		p.WriteString("/namespaces/default")
	}
	p.WriteString("/" + f.View.Plural)
	if name != "" {
		p.WriteString("/" + name)
	}
	return p.String()
}

// kept checks that all that was sent, with defaults, is in what was stored.
func (r *trip) kept(o apimachinery.Object, made *unstructured.Unstructured, what string) {
	r.Helper()
	hub := o
	if r.View.ToHub != nil {
		var err error
		hub, err = r.View.ToHub(o)
		require.NoError(r, err, what)
	}
	if r.Resource.Default != nil {
		r.Resource.Default(hub)
	}
	if r.View.FromHub != nil {
		var err error
		o, err = r.View.FromHub(hub)
		require.NoError(r, err, what)
	}
	want := tree(r, o)
	delete(want, "status")
	delete(want, "metadata")
	var lost []string
	within("", want, tree(r, made), &lost)
	lost = slices.DeleteFunc(lost, func(path string) bool {
		return slices.ContainsFunc(off, func(name string) bool { return strings.Contains(path, name) }) || slices.ContainsFunc(dropped[r.View.Kind], func(prefix string) bool { return strings.HasPrefix(path, prefix) })
	})
	require.Empty(r, lost, "%s\n%v", what, want)
}

func tree(t testing.TB, o any) map[string]any {
	raw, err := json.Marshal(o)
	require.NoError(t, err)
	out := map[string]any{}
	require.NoError(t, json.Unmarshal(raw, &out))
	return out
}

// within lists the leaves of want that got has not.
func within(path string, want, got any, lost *[]string) {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok && len(w) > 0 {
			*lost = append(*lost, fmt.Sprintf("%s: %v, not %v", path, got, want))
		}
		for k, v := range w {
			if ok {
				within(path+"."+k, v, g[k], lost)
			}
		}
	case []any:
		g, _ := got.([]any)
		if len(g) < len(w) {
			*lost = append(*lost, fmt.Sprintf("%s: %v, not %v", path, got, want))
			return
		}
		for i, v := range w {
			within(fmt.Sprintf("%s[%d]", path, i), v, g[i], lost)
		}
	case nil:
	default:
		if want != got {
			*lost = append(*lost, fmt.Sprintf("%s: %v, not %v", path, got, want))
		}
	}
}

// read reads an object in both forms, and sends back what it got.
func (r *trip) read(made *unstructured.Unstructured, what string) {
	r.Helper()
	got, err := r.client.Get(r.Context(), made.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) && (len(made.GetOwnerReferences()) > 0 || r.View.Kind == "Secret") {
		return // it has no owner, or no account, and was collected
	}
	require.NoError(r, err, what)
	if got.GetResourceVersion() == made.GetResourceVersion() { // no controller was there yet
		require.Equal(r, made, got, what)
	}
	if apimachinery.HasProtobuf(r.New()) {
		body, err := r.raw.Get().AbsPath(r.path(made.GetName())).SetHeader("Accept", apimachinery.Protobuf).DoRaw(r.Context())
		if apierrors.IsNotFound(err) {
			return // collected by now
		}
		require.NoError(r, err, what)
		raw, err := apimachinery.FromProtobuf(body, r.New())
		require.NoError(r, err, what)
		read := &unstructured.Unstructured{}
		require.NoError(r, read.UnmarshalJSON(raw))
		if read.GetResourceVersion() == got.GetResourceVersion() {
			same(r, r.normal(got), r.normal(read), what+": protobuf")
		}
	}
	if verbs := r.Resource.Verbs; verbs != nil && !slices.Contains(verbs, "update") {
		return
	}
	updated, err := r.client.Update(r.Context(), got, metav1.UpdateOptions{FieldManager: "dynamic", FieldValidation: metav1.FieldValidationStrict})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return // a controller has written
	}
	require.NoError(r, err, what)
	require.Equal(r, got.GetResourceVersion(), updated.GetResourceVersion(), "%s: an update that changes nothing was stored\n%v\n%v", what, got, updated)
}

// normal is an object by its Go type, as the two forms differ in what they say of empty values.
func (r *trip) normal(u *unstructured.Unstructured) apimachinery.Object {
	o, err := r.typed(u)
	require.NoError(r, err)
	if s, ok := o.(*appsv1.StatefulSet); ok {
		for i := range s.Spec.VolumeClaimTemplates {
			s.Spec.VolumeClaimTemplates[i].TypeMeta = metav1.TypeMeta{} // which protobuf has no place for
		}
	}
	return o
}

func (r *trip) remove(name string) {
	now := int64(0)
	_, err := r.client.Patch(r.Context(), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if !apierrors.IsNotFound(err) && !apierrors.IsMethodNotSupported(err) {
		require.NoError(r, err)
	}
	err = r.client.Delete(r.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if !apierrors.IsNotFound(err) {
		require.NoError(r, err)
	}
}
