package managedfields_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	reference "k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/bedplate/bedplate/apimachinery/managedfields"
	"github.com/bedplate/bedplate/apimachinery/structural"
)

var (
	sequences = flag.Int("sequences", 50, "random sequences for each kind")
	seed      = flag.Uint64("seed", 0, "of the random sequences; 0: the clock")
)

// kind is a kind under test: k8s.io/apimachinery's field managers beside ours.
type kind struct {
	gvk    schema.GroupVersionKind
	typ    *structural.Type // nil: no schema
	shape  *structural.Type // what objects are generated from
	main   *reference.FieldManager
	status *reference.FieldManager
}

var resets = map[string][]string{"": {"status"}, "status": {"spec", "metadata.deletionTimestamp", "metadata.ownerReferences"}}

func newKind(t testing.TB, converter reference.TypeConverter, gvk schema.GroupVersionKind, known bool) *kind {
	k := &kind{gvk: gvk}
	sample, err := scheme.Scheme.New(gvk)
	require.NoError(t, err)
	k.shape, err = structural.Of(sample)
	require.NoError(t, err)
	if known {
		k.typ = k.shape
	}
	k.main, k.status = k.reference(t, converter, ""), k.reference(t, converter, "status")
	return k
}

func (k *kind) reference(t testing.TB, converter reference.TypeConverter, subresource string) *reference.FieldManager {
	set := fieldpath.NewSet()
	for _, path := range resets[subresource] {
		var p fieldpath.Path
		for name := range strings.SplitSeq(path, ".") {
			p = append(p, fieldpath.FieldNameElement(name))
		}
		set.Insert(p)
	}
	filters := fieldpath.NewExcludeFilterSetMap(map[fieldpath.APIVersion]*fieldpath.Set{fieldpath.APIVersion(k.gvk.GroupVersion().String()): set})
	if k.typ == nil {
		m, err := reference.NewDefaultCRDFieldManager(reference.NewDeducedTypeConverter(), unconverted{}, undefaulted{}, untypedCreater{}, k.gvk, k.gvk.GroupVersion(), subresource, filters)
		require.NoError(t, err)
		return m
	}
	m, err := reference.NewDefaultFieldManager(converter, runtime.UnsafeObjectConvertor(scheme.Scheme), undefaulted{}, scheme.Scheme, k.gvk, k.gvk.GroupVersion(), subresource, filters)
	require.NoError(t, err)
	return m
}

type undefaulted struct{}

func (undefaulted) Default(runtime.Object) {}

type unconverted struct{}

func (unconverted) Convert(in, out, context any) error { return errors.New("not converted") }
func (unconverted) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	return in, nil
}
func (unconverted) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

type untypedCreater struct{}

func (untypedCreater) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u, nil
}

// object decodes JSON into what the reference works on.
func (k *kind) object(t testing.TB, raw []byte) runtime.Object {
	if k.typ == nil {
		u := &unstructured.Unstructured{}
		require.NoError(t, utiljson.Unmarshal(raw, &u.Object))
		return u
	}
	obj, err := scheme.Scheme.New(k.gvk)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, obj), "%s", raw)
	return obj
}

func (k *kind) empty() runtime.Object {
	if k.typ == nil {
		u, _ := untypedCreater{}.New(k.gvk)
		return u
	}
	obj, _ := scheme.Scheme.New(k.gvk)
	return obj
}

// stored is an object as a server stores it, and its managedFields.
type stored struct {
	raw     []byte
	managed []metav1.ManagedFieldsEntry
}

// split takes the managedFields out of an object of the reference.
func (k *kind) split(t testing.TB, obj runtime.Object) stored {
	obj = obj.DeepCopyObject()
	accessor, err := meta.Accessor(obj)
	require.NoError(t, err)
	managed := accessor.GetManagedFields()
	accessor.SetManagedFields(nil)
	if k.typ != nil {
		obj.GetObjectKind().SetGroupVersionKind(k.gvk)
	}
	raw, err := json.Marshal(obj)
	require.NoError(t, err)
	return stored{raw, managed}
}

func (k *kind) join(t testing.TB, s stored) runtime.Object {
	if s.raw == nil {
		return k.empty()
	}
	obj := k.object(t, s.raw)
	accessor, err := meta.Accessor(obj)
	require.NoError(t, err)
	accessor.SetManagedFields(s.managed)
	return obj
}

func (k *kind) normalize(t testing.TB, raw []byte) []byte { return k.split(t, k.object(t, raw)).raw }

func TestDifferential(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d -sequences %d", s, *sequences)
	converter := applyconfigurations.NewTypeConverter(scheme.Scheme)
	for _, c := range []struct {
		group, version, kind string
		known                bool
	}{
		{"", "v1", "Pod", true}, {"apps", "v1", "Deployment", true}, {"", "v1", "ConfigMap", true}, {"", "v1", "Service", true},
		{"", "v1", "Node", true}, {"", "v1", "PersistentVolume", true}, {"rbac.authorization.k8s.io", "v1", "ClusterRole", true},
		{"networking.k8s.io", "v1", "NetworkPolicy", true}, {"apps", "v1", "ControllerRevision", true}, {"autoscaling", "v2", "HorizontalPodAutoscaler", true},
		{"", "v1", "Pod", false}, {"apps", "v1", "Deployment", false},
	} {
		gvk := schema.GroupVersionKind{Group: c.group, Version: c.version, Kind: c.kind}
		t.Run(fmt.Sprintf("%s/known=%v", c.kind, c.known), func(t *testing.T) {
			t.Parallel()
			k := newKind(t, converter, gvk, c.known)
			count := map[string]int{}
			for i := range *sequences {
				r := &run{T: t, kind: k, count: count, rand: rand.New(rand.NewPCG(s, uint64(i))), name: fmt.Sprintf("-seed %d, sequence %d", s, i)}
				r.sequence()
			}
			t.Logf("%v", count)
		})
	}
}

// TestDifferentialEveryKind is [TestDifferential] for every kind of a stable version that client-go knows how to apply,
// with fewer sequences of each.
func TestDifferentialEveryKind(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	each := max(1, *sequences/5)
	t.Logf("-seed %d -sequences %d", s, *sequences)
	converter := applyconfigurations.NewTypeConverter(scheme.Scheme)
	tested := 0
	for gvk := range scheme.Scheme.AllKnownTypes() {
		o, err := scheme.Scheme.New(gvk)
		require.NoError(t, err)
		o.GetObjectKind().SetGroupVersionKind(gvk)
		if strings.HasPrefix(gvk.Group, "flowcontrol.") {
			continue // their conditions may be without a type, their key; validation refuses that, and so does the reference
		}
		if _, stored := o.(metav1.Object); !stored || strings.ContainsAny(gvk.Version, "ab_") || strings.HasSuffix(gvk.Kind, "Review") || !applied(converter, o) {
			continue
		}
		tested++
		t.Run(gvk.GroupVersion().String()+"/"+gvk.Kind, func(t *testing.T) {
			t.Parallel()
			k := newKind(t, converter, gvk, true)
			for i := range each {
				r := &run{T: t, kind: k, count: map[string]int{}, rand: rand.New(rand.NewPCG(s, uint64(i))), name: fmt.Sprintf("-seed %d, sequence %d", s, i)}
				r.sequence()
			}
		})
	}
	require.Greater(t, tested, 55)
}

// applied says whether the reference has a schema for objects of this type.
func applied(converter reference.TypeConverter, o runtime.Object) bool {
	_, err := converter.ObjectToTyped(o)
	return err == nil
}

// run is one random life of an object.
type run struct {
	*testing.T
	*kind
	rand *rand.Rand
	name string
	log  []string
	live stored
	step int
	keep bool // never reset the entries

	patches map[string][]byte // the last of each manager
	count   map[string]int    // of what happened
}

func (r *run) sequence() {
	gen := &generator{Rand: r.rand, nulls: r.typ == nil}
	managers := []string{"m1", "m2", "m3", "kubectl", ""}
	steps, applies := 3+r.rand.IntN(8), 2
	r.keep = r.rand.IntN(16) == 0
	if r.keep { // many updaters
		steps, applies = 40, 10
		for i := range 12 {
			managers = append(managers, fmt.Sprintf("n%d", i))
		}
	}
	for r.step = range steps {
		by := managedfields.Manager{Name: managers[r.rand.IntN(len(managers))], APIVersion: r.gvk.GroupVersion().String(),
			Time: time.Date(2020, 1, 1, 0, 0, r.step/3, 7, time.UTC)}
		if r.live.raw != nil && r.rand.IntN(4) == 0 {
			by.Subresource = "status"
		}
		if r.rand.IntN(applies) == 0 {
			r.apply(by, r.patch(gen, by), r.rand.IntN(3) == 0)
			continue
		}
		if r.live.raw == nil {
			r.update(by, r.normalize(r, r.mustEncode(r.identify(gen.object(r.shape, 7)))))
			continue
		}
		var obj map[string]any
		require.NoError(r, utiljson.Unmarshal(r.live.raw, &obj))
		for range 1 + r.rand.IntN(4) {
			gen.mutate(r.shape, obj)
		}
		r.update(by, r.clientSideApplied(r.normalize(r, r.mustEncode(r.identify(obj)))))
	}
}

// patch is a random object, or much like what the manager applied last, or much like the live one.
func (r *run) patch(gen *generator, by managedfields.Manager) []byte {
	base := r.patches[by.Name]
	if r.rand.IntN(3) == 0 {
		base = r.live.raw
	}
	obj := map[string]any{}
	if base == nil || r.rand.IntN(3) == 0 || utiljson.Unmarshal(base, &obj) != nil {
		obj = gen.object(r.shape, 7)
	} else {
		for range r.rand.IntN(3) {
			gen.mutate(r.shape, obj)
		}
	}
	if r.patches == nil {
		r.patches = map[string][]byte{}
	}
	r.patches[by.Name] = r.mustEncode(r.identify(obj))
	return r.patches[by.Name]
}

// clientSideApplied sometimes notes the object in the annotation of client-side apply, as kubectl does.
func (r *run) clientSideApplied(raw []byte) []byte {
	if r.rand.IntN(4) > 0 {
		return raw
	}
	var obj map[string]any
	require.NoError(r, utiljson.Unmarshal(raw, &obj))
	delete(obj, "status")
	if err := unstructured.SetNestedField(obj, string(r.mustEncode(obj)), "metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"); err != nil {
		return raw // annotations are null
	}
	obj["status"] = nil
	return r.normalize(r, r.mustEncode(obj))
}

func (r *run) mustEncode(v any) []byte {
	raw, err := json.Marshal(v)
	require.NoError(r, err)
	return raw
}

func (r *run) identify(obj map[string]any) map[string]any {
	obj["apiVersion"], obj["kind"] = r.gvk.GroupVersion().String(), r.gvk.Kind
	metadata, _ := obj["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
		obj["metadata"] = metadata
	}
	delete(metadata, "managedFields")
	delete(metadata, "uid")
	metadata["name"] = "x"
	if r.live.raw != nil {
		metadata["uid"] = "u-1" // the reference takes an object without for one that doesn't exist
	}
	return obj
}

func (r *run) managerOf(by managedfields.Manager) *reference.FieldManager {
	if by.Subresource == "status" {
		return r.status
	}
	return r.main
}

func (r *run) update(by managedfields.Manager, obj []byte) {
	r.log = append(r.log, fmt.Sprintf("update by %+v: %s", by, obj))
	want, wantErr := r.managerOf(by).Update(r.join(r, r.live), r.object(r, obj), by.Name)
	got, err := managedfields.Update(r.typ, r.live.raw, obj, r.live.managed, by, managedfields.Paths(resets[by.Subresource]...))
	require.Equal(r, wantErr == nil, err == nil, "%s\n%v\n%v", r, wantErr, err)
	if err != nil {
		r.count["update refused"]++
		return
	}
	r.count["updated"]++
	r.updateObject(by, obj, got)
	r.compare(by, want, stored{obj, got})
}

// updateObject requires that the walk over Go values comes to the same.
func (r *run) updateObject(by managedfields.Manager, obj []byte, want []metav1.ManagedFieldsEntry) {
	if r.typ == nil {
		return
	}
	var live any
	if r.live.raw != nil {
		live = r.object(r, r.live.raw)
	}
	got, ok, err := managedfields.UpdateObject(r.typ, live, r.object(r, obj), r.live.managed, by, managedfields.Paths(resets[by.Subresource]...))
	require.NoError(r, err, "%s", r)
	if !ok {
		r.count["update not by values"]++
		return
	}
	require.Equal(r, r.printed(want), r.printed(got), "%s", r)
}

func (r *run) apply(by managedfields.Manager, patch []byte, force bool) {
	r.log = append(r.log, fmt.Sprintf("apply (force %v) by %+v: %s", force, by, patch))
	u := &unstructured.Unstructured{}
	require.NoError(r, utiljson.Unmarshal(patch, &u.Object))
	want, wantErr := r.managerOf(by).Apply(r.join(r, r.live), u, by.Name, force)
	merged, managed, err := managedfields.Apply(r.typ, r.live.raw, patch, r.live.managed, by, force, managedfields.Paths(resets[by.Subresource]...))
	require.Equal(r, wantErr == nil, err == nil, "%s\n%v\n%v", r, wantErr, err)
	if err == nil {
		r.count["applied"]++
		if strings.Contains(string(merged), "last-applied") && by.Name == "kubectl" {
			r.count["applied over client-side apply"]++
		}
		r.compare(by, want, stored{r.normalize(r, merged), managed})
		return
	}
	r.count["apply refused"]++
	var conflict *managedfields.ConflictError
	require.Equal(r, apierrors.IsConflict(wantErr), errors.As(err, &conflict), "%s\n%v\n%v", r, wantErr, err)
	if conflict != nil {
		r.count["conflict"]++
		status := wantErr.(apierrors.APIStatus).Status()
		require.Equal(r, status.Message, conflict.Error(), "%s", r)
		require.ElementsMatch(r, status.Details.Causes, conflict.Causes(), "%s", r)
	}
}

// compare requires the same object and entries of both, and goes on from there.
func (r *run) compare(by managedfields.Manager, reference runtime.Object, got stored) {
	want := r.split(r, reference)
	for i := range want.managed {
		if m := &want.managed[i]; m.Time != nil && m.Time.Year() > 2020 {
			m.Time = &metav1.Time{Time: by.Time.Truncate(time.Second)}
		}
	}
	slices.SortFunc(want.managed, func(a, b metav1.ManagedFieldsEntry) int { return strings.Compare(order(a), order(b)) })
	require.JSONEq(r, string(want.raw), string(got.raw), "%s", r)
	require.Equal(r, r.printed(want.managed), r.printed(got.managed), "%s", r)
	r.live = got
	if strings.Contains(r.printed(got.managed), "ancient-changes") {
		r.count["managers joined"]++
	}
	if r.live.raw != nil && !strings.Contains(string(r.live.raw), `"uid":"u-1"`) {
		var obj map[string]any
		require.NoError(r, utiljson.Unmarshal(r.live.raw, &obj))
		r.live.raw = r.normalize(r, r.mustEncode(r.identify(obj)))
	}
	if !r.keep && r.rand.IntN(8) == 0 {
		r.live.managed = nil // somebody reset them
	}
}

// order is the order of entries. The reference sorts before its times are replaced.
func order(e metav1.ManagedFieldsEntry) string {
	seconds := int64(0)
	if e.Time != nil {
		seconds = e.Time.Unix()
	}
	return fmt.Sprintf("%s %012d %s\x00%s\x00%s", e.Operation, seconds, e.Manager, e.APIVersion, e.Subresource)
}

func (r *run) printed(managed []metav1.ManagedFieldsEntry) string {
	var b strings.Builder
	for _, e := range managed {
		fields := e.FieldsV1.GetRawString()
		if r.typ == nil { // unstructured objects of the reference keep decoded sets
			var v any
			require.NoError(r, json.Unmarshal([]byte(fields), &v))
			fields = string(r.mustEncode(v))
		}
		at := "never" // an applier that changed nothing has no time
		if e.Time != nil {
			at = e.Time.UTC().Format(time.RFC3339Nano)
		}
		fmt.Fprintf(&b, "%s %s %s %s %s %s %s\n", e.Operation, e.Manager, e.APIVersion, e.Subresource, at, e.FieldsType, fields)
	}
	return b.String()
}

func (r *run) String() string { return r.name + "\n" + strings.Join(r.log, "\n") }
