package managedfields_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/bedplate/bedplate/apimachinery/managedfields"
	"github.com/bedplate/bedplate/apimachinery/structural"
)

func typeOf(t testing.TB, sample any) *structural.Type {
	typ, err := structural.Of(sample)
	require.NoError(t, err)
	return typ
}

func entry(manager string, op metav1.ManagedFieldsOperationType, version, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: op, APIVersion: version, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
}

// More than ten updaters are joined as Kubernetes joins them.
func TestManyUpdaters(t *testing.T) {
	k := newKind(t, applyconfigurations.NewTypeConverter(scheme.Scheme), corev1.SchemeGroupVersion.WithKind("ConfigMap"), true)
	r := &run{T: t, kind: k, rand: newRand(1), keep: true, count: map[string]int{}}
	data := map[string]any{}
	for i := range 40 {
		by := managedfields.Manager{Name: fmt.Sprintf("n%d", (i*7)%17), APIVersion: "v1", Time: time.Date(2020, 1, 1, 0, 0, i/2, 0, time.UTC)}
		if i%5 == 4 && i > 0 {
			by.Subresource = "status"
		}
		data[fmt.Sprintf("k%d", i%23)] = fmt.Sprint(i)
		r.update(by, r.normalize(t, r.mustEncode(r.identify(map[string]any{"data": data}))))
	}
	require.Positive(t, r.count["managers joined"])
	require.Len(t, r.live.managed, 10)
}

// What clients send as managedFields counts as in Kubernetes.
func TestRequested(t *testing.T) {
	k := newKind(t, applyconfigurations.NewTypeConverter(scheme.Scheme), corev1.SchemeGroupVersion.WithKind("ConfigMap"), true)
	live := []byte(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","uid":"u-1"},"data":{"a":"1"}}`)
	obj := []byte(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","uid":"u-1"},"data":{"a":"1","b":"2"}}`)
	liveManaged := []metav1.ManagedFieldsEntry{entry("a", "Update", "v1", `{"f:data":{".":{},"f:a":{}}}`)}
	for name, sent := range map[string][]metav1.ManagedFieldsEntry{
		"nothing":     nil,
		"none":        {},
		"empty entry": {{}},
		"same":        slices.Clone(liveManaged),
		"another":     {entry("z", "Apply", "v1", `{"f:data":{"f:a":{},".":{}},"x:unknown":{}}`)},
		"two":         {entry("z", "Update", "v1", `{"f:data":{"f:a":{}}}`), entry("b", "Apply", "v1", `{"f:data":{"f:a":{}}}`)},
		"twice":       {entry("z", "Update", "v1", `{"f:data":{"f:a":{}}}`), entry("z", "Update", "v1", `{"f:data":{"f:c":{}}}`)},
		"operation":   {entry("z", "Patch", "v1", `{"f:data":{"f:a":{}}}`)},
		"no version":  {entry("z", "Apply", "", `{"f:data":{"f:a":{}}}`)},
		"no fields":   {entry("z", "Apply", "v1", `{}`)},
		"bad fields":  {entry("z", "Apply", "v1", `{"data":{}}`)},
		"bad JSON":    {entry("z", "Apply", "v1", `{"f:data":`)},
		"type":        {{Manager: "z", Operation: "Apply", APIVersion: "v1", FieldsType: "FieldsV2"}},
		"no type":     {{Manager: "z", Operation: "Apply", APIVersion: "v1"}},
	} {
		for _, subresource := range []string{"", "status"} {
			r := &run{T: t, kind: k, rand: newRand(1), keep: true, count: map[string]int{}, name: name + "/" + subresource}
			by := managedfields.Manager{Name: "m", APIVersion: "v1", Subresource: subresource, Time: time.Date(2020, 1, 1, 0, 0, 9, 0, time.UTC)}
			want, err := r.managerOf(by).Update(k.join(t, stored{live, liveManaged}), k.join(t, stored{obj, sent}), by.Name)
			require.NoError(t, err, name)
			got, err := managedfields.Update(k.typ, live, obj, managedfields.Requested(sent, liveManaged, subresource), by, managedfields.Paths(resets[subresource]...))
			require.NoError(t, err, name)
			r.compare(by, want, stored{obj, got})
		}
	}
}

func TestConflicts(t *testing.T) {
	typ := typeOf(t, &appsv1.Deployment{})
	live := []byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"a":"b"}},"spec":{"replicas":1,"template":{"spec":{"containers":[{"name":"web","image":"a"}]}}}}`)
	managed := []metav1.ManagedFieldsEntry{
		entry("helm", "Apply", "apps/v1", `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:image":{},"f:name":{}}}}}}}`),
		entry("hpa", "Update", "apps/v1", `{"f:spec":{"f:replicas":{}}}`),
	}
	managed[1].Subresource = "scale"
	by := managedfields.Manager{Name: "me", APIVersion: "apps/v1", Time: time.Unix(9, 0)}
	apply := func(patch string, force bool) error {
		_, _, err := managedfields.Apply(typ, live, []byte(patch), managed, by, force, managedfields.Set{})
		return err
	}
	err := apply(`{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":2}}`, false)
	var conflict *managedfields.ConflictError
	require.ErrorAs(t, err, &conflict)
	require.EqualError(t, conflict, `Apply failed with 1 conflict: conflict with "hpa" with subresource "scale" using apps/v1: .spec.replicas`)
	require.Equal(t, []metav1.StatusCause{{Type: metav1.CauseTypeFieldManagerConflict, Message: `conflict with "hpa" with subresource "scale" using apps/v1`, Field: ".spec.replicas"}}, conflict.Causes())

	err = apply(`{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"web","image":"b"}]}}}}`, false)
	require.EqualError(t, err, `Apply failed with 2 conflicts: conflicts with "helm":
- .spec.template.spec.containers[name="web"].image
conflicts with "hpa" with subresource "scale" using apps/v1:
- .spec.replicas`)
	require.NoError(t, apply(`{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":2}}`, true))
	require.NoError(t, apply(`{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":1}}`, false), "the same value is no conflict")
}

// Lists keep their order as Kubernetes keeps it, and a manager may change nothing but that.
func TestListOrder(t *testing.T) {
	k := newKind(t, applyconfigurations.NewTypeConverter(scheme.Scheme), corev1.SchemeGroupVersion.WithKind("Pod"), true)
	for _, orders := range [][]string{
		{"ab", "ba"}, {"abc", "ca"}, {"abc", "cxa"}, {"abcd", "xbya"}, {"ab", "xy"}, {"abcdef", "fxca"}, {"abc", "abc"}, {"abc", "b", "cab"},
	} {
		r := &run{T: t, kind: k, rand: newRand(1), keep: true, count: map[string]int{}, name: fmt.Sprint(orders)}
		for i, order := range orders {
			var list []any
			for _, name := range order {
				list = append(list, map[string]any{"name": string(name), "image": "i"})
			}
			m := managedfields.Manager{Name: fmt.Sprint("m", i%2), APIVersion: "v1", Time: time.Date(2020, 1, 1, 0, 0, i, 0, time.UTC)}
			r.apply(m, r.mustEncode(r.identify(map[string]any{"spec": map[string]any{"containers": list}})), true)
		}
		require.Equal(t, len(orders), r.count["applied"], "%s", r)
	}
}

// Names that occur twice in an applied configuration count once, the last of them.
func TestApplyTwiceNamed(t *testing.T) {
	merged, managed, err := managedfields.Apply(typeOf(t, &corev1.Pod{}), nil,
		[]byte(`{"apiVersion":"v1","kind":"Pod","spec":{"nodeName":"a","hostname":"h"},"spec":{"nodeName":"b"}}`), nil, by("m"), false, managedfields.Set{})
	require.NoError(t, err)
	require.Contains(t, string(merged), `"nodeName":"b"`)
	require.NotContains(t, string(merged), "hostname")
	require.Equal(t, `{"f:spec":{"f:nodeName":{}}}`, managed[0].FieldsV1.GetRawString())
}

func TestApplyRefuses(t *testing.T) {
	typ := typeOf(t, &corev1.Pod{})
	for name, c := range map[string]struct {
		patch string
		bad   bool // a BadRequest; else a PatchError
		want  string
	}{
		"malformed":      {`{"apiVersion":`, true, "applied configuration"},
		"not an object":  {`[]`, true, "applied configuration"},
		"version":        {`{"apiVersion":"v2","kind":"Pod"}`, true, "Specified patch version: v2, expected: v1"},
		"managed fields": {`{"apiVersion":"v1","kind":"Pod","metadata":{"managedFields":[]}}`, true, "metadata.managedFields must be nil"},
		"unknown field":  {`{"apiVersion":"v1","kind":"Pod","spec":{"nope":1}}`, false, ".spec.nope: field not declared in schema"},
		"wrong type":     {`{"apiVersion":"v1","kind":"Pod","spec":{"nodeName":1}}`, false, ".spec.nodeName"},
		"duplicate":      {`{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a"},{"name":"a"}]}}`, false, `duplicate entries for key [name="a"]`},
	} {
		_, _, err := managedfields.Apply(typ, nil, []byte(c.patch), nil, by("m"), false, managedfields.Set{})
		require.ErrorContains(t, err, c.want, name)
		require.Equal(t, c.bad, apierrors.IsBadRequest(err), name)
		var patchError *managedfields.PatchError
		require.Equal(t, !c.bad, errors.As(err, &patchError), name)
	}
	_, _, err := managedfields.Apply(typ, []byte(`{`), []byte(`{"apiVersion":"v1"}`), nil, by("m"), false, managedfields.Set{})
	require.ErrorContains(t, err, "live object")
	_, _, err = managedfields.Apply(typ, []byte(`{}`), []byte(`{"apiVersion":"v1"}`), []metav1.ManagedFieldsEntry{{}}, by("m"), false, managedfields.Set{})
	require.ErrorContains(t, err, "managedFields[0]")
}

func TestUpdateRefuses(t *testing.T) {
	typ := typeOf(t, &corev1.Pod{})
	for want, obj := range map[string]string{
		".spec.nope: field not declared in schema":           `{"spec":{"nope":1}}`,
		".spec.nodeName: expected string, got 1":             `{"spec":{"nodeName":1}}`,
		".spec.priority: expected numeric (int or float)":    `{"spec":{"priority":"1"}}`,
		".spec.hostNetwork: expected boolean":                `{"spec":{"hostNetwork":"yes"}}`,
		".spec.containers: expected list, got {}":            `{"spec":{"containers":{}}}`,
		".spec: expected map, got []":                        `{"spec":[]}`,
		`.metadata.finalizers: {} can't be an item of a set`: `{"metadata":{"finalizers":[{}]}}`,
		`.spec.volumes: 7 can't be an item of a list with`:   `{"spec":{"volumes":[7]}}`,
		"malformed JSON at byte 8":                           `{"spec":`,
		"malformed JSON at byte 3":                           `{} {}`,
		"malformed JSON at byte 5":                           `{"a":01}`,
	} {
		_, err := managedfields.Update(typ, nil, []byte(obj), nil, by("m"), managedfields.Set{})
		require.ErrorContains(t, err, want, obj)
	}
	type item struct {
		Name string `json:"name"`
	}
	type keyed struct {
		Items []item `json:"items" patchStrategy:"merge" patchMergeKey:"name"`
	}
	_, err := managedfields.Update(typeOf(t, keyed{}), nil, []byte(`{"items":[{}]}`), nil, by("m"), managedfields.Set{})
	require.ErrorContains(t, err, `.items: an item has none of its list's keys ["name"]`)
	deep := bytes.Repeat([]byte("["), 20_000)
	_, err = managedfields.Update(nil, nil, deep, nil, by("m"), managedfields.Set{})
	require.ErrorContains(t, err, "malformed JSON at byte 10001")
}

// Entries of another version lose what changed, path by path, and keep their version.
func TestOtherVersions(t *testing.T) {
	typ := typeOf(t, &appsv1.Deployment{})
	managed := []metav1.ManagedFieldsEntry{entry("old", "Update", "apps/v1beta1", `{"f:spec":{"f:replicas":{},"f:rollbackTo":{}}}`)}
	got, err := managedfields.Update(typ, []byte(`{"spec":{"replicas":1}}`), []byte(`{"spec":{"replicas":2}}`), managed,
		managedfields.Manager{Name: "new", APIVersion: "apps/v1", Time: time.Unix(7, 0)}, managedfields.Set{})
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, "apps/v1beta1", got[0].APIVersion)
	require.JSONEq(t, `{"f:spec":{"f:rollbackTo":{}}}`, got[0].FieldsV1.GetRawString())
	require.JSONEq(t, `{"f:spec":{"f:replicas":{}}}`, got[1].FieldsV1.GetRawString())
	require.Equal(t, `{"f:spec":{"f:replicas":{},"f:rollbackTo":{}}}`, managed[0].FieldsV1.GetRawString(), "what went in is unchanged")
}

func TestUntracked(t *testing.T) {
	got, err := managedfields.Update(nil, []byte(`{"a":1}`), []byte(`{"a":2}`), nil, by("m"), managedfields.Set{})
	require.NoError(t, err)
	require.Nil(t, got, "an object without entries is not tracked")
	got, err = managedfields.Update(nil, []byte(`{"a":1}`), []byte(`{"a":2}`), []metav1.ManagedFieldsEntry{{}}, by("m"), managedfields.Set{})
	require.NoError(t, err)
	require.Nil(t, got, "senseless entries are none")
	merged, got, err := managedfields.Apply(nil, []byte(`{"apiVersion":"v1","a":1}`), []byte(`{"apiVersion":"v1","b":2}`), nil, by("m"), false, managedfields.Set{})
	require.NoError(t, err)
	require.JSONEq(t, `{"apiVersion":"v1","a":1,"b":2}`, string(merged))
	require.Equal(t, []string{"m", "before-first-apply"}, []string{got[0].Manager, got[1].Manager})
}

func TestUnchangedIsFree(t *testing.T) {
	typ := typeOf(t, &corev1.Pod{})
	raw := compact(t, podJSON)
	managed, err := managedfields.Update(typ, nil, raw, nil, by("m"), managedfields.Set{})
	require.NoError(t, err)
	again, err := managedfields.Update(typ, raw, raw, managed, by("n"), managedfields.Set{})
	require.NoError(t, err)
	require.Equal(t, managed, again)
	later := slices.Clone(managed)
	later[0].Time = &metav1.Time{Time: time.Unix(1, 0)}
	require.True(t, managedfields.EqualButTimes(managed, later))
	later[0].Manager = "other"
	require.False(t, managedfields.EqualButTimes(managed, later))

	merged, _, err := managedfields.Apply(typ, raw, []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"app":"web"}}}`), managed, by("n"), false, managedfields.Set{})
	require.NoError(t, err)
	require.Equal(t, raw, merged, "an apply that changes nothing returns the very bytes")
}

func compact(t testing.TB, raw []byte) []byte {
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, raw))
	return b.Bytes()
}

// Calls for one kind share memory; their results don't.
func TestConcurrentCalls(t *testing.T) {
	typ := typeOf(t, &corev1.Pod{})
	raw := compact(t, podJSON)
	want, err := managedfields.Update(typ, nil, raw, nil, by("m"), managedfields.Paths("status"))
	require.NoError(t, err)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 20 {
				got, err := managedfields.Update(typ, nil, raw, nil, by("m"), managedfields.Paths("status"))
				if err != nil || got[0].FieldsV1.GetRawString() != want[0].FieldsV1.GetRawString() {
					t.Errorf("create: %v, %v", got, err)
				}
				other := bytes.Replace(raw, []byte("web:1.2.3"), fmt.Appendf(nil, "web:%d", i), 1)
				if got, err = managedfields.Update(typ, raw, other, want, by("n"), managedfields.Paths("status")); err != nil || len(got) != 2 {
					t.Errorf("update: %v, %v", got, err)
				}
			}
		})
	}
	group.Wait()
}

func TestSet(t *testing.T) {
	set, err := managedfields.Decode(metav1.NewFieldsV1(`{"f:spec":{"f:containers":{"k:{\"name\":\"b\"}":{".":{}},"k:{\"name\":\"a\"}":{".":{},"f:image":{}}},"f:replicas":{}},"f:metadata":{"f:finalizers":{"v:\"x\"":{}}},"f:list":{"i:3":{}}}`))
	require.NoError(t, err)
	require.Equal(t, []string{".list[3]", `.metadata.finalizers[="x"]`, ".spec.replicas", `.spec.containers[name="a"]`, `.spec.containers[name="b"]`, `.spec.containers[name="a"].image`},
		slices.Collect(set.All()))
	require.Equal(t, `{"f:list":{"i:3":{}},"f:metadata":{"f:finalizers":{"v:\"x\"":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:image":{}},"k:{\"name\":\"b\"}":{}},"f:replicas":{}}}`,
		set.Encode().GetRawString())
	require.False(t, set.Empty())
	require.True(t, managedfields.Set{}.Empty())
	require.Equal(t, "{}", managedfields.Set{}.Encode().GetRawString())
	require.Equal(t, `{"f:a":{".":{},"f:b":{"f:c":{}}},"f:d":{}}`, managedfields.Paths("d", "a.b.c", "a").Encode().GetRawString())
	for range set.All() {
		break
	}
	empty, err := managedfields.Decode(nil)
	require.NoError(t, err)
	require.True(t, empty.Empty())
}

// Sets are read and written as structured-merge-diff reads and writes them.
func FuzzDecode(f *testing.F) {
	f.Add(`{"f:a":{".":{},"f:b":{}},"k:{\"b\":1,\"a\":\"x\"}":{},"v:1.50":{},"v:true":{},"v:null":{},"i:7":{},"q:":{}}`)
	f.Add(`{"k:{\"name\":\"a<b\"}":{"f:\u00e9\"":{}},"v:\"\\u00e9\"":{},"v:-0":{},"v:10":{},"v:9":{}}`)
	f.Add(`{"f:":{},"k:{}":{},"v:":{},"i:x":{}}`)
	f.Add(`{"f:a":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		set, err := managedfields.Decode(metav1.NewFieldsV1(text))
		if err != nil {
			return
		}
		written := set.Encode().GetRawString()
		again, err := managedfields.Decode(metav1.NewFieldsV1(written))
		require.NoError(t, err, "%s", written)
		require.Equal(t, written, again.Encode().GetRawString())
		var theirs fieldpath.Set
		if theirs.FromJSON(bytes.NewReader([]byte(text))) != nil {
			return
		}
		require.Equal(t, theirs.Empty(), set.Empty(), "%s", text)
	})
}

// Null and an empty object are different values, and neither has members.
func TestNullAndEmpty(t *testing.T) {
	type object struct {
		Map  map[string]string `json:"map"`
		List []string          `json:"list"`
	}
	typ := typeOf(t, object{})
	owned := func(live, obj string) string {
		got, err := managedfields.Update(typ, []byte(live), []byte(obj), []metav1.ManagedFieldsEntry{entry("a", "Update", "v1", `{"f:x":{}}`)}, by("m"), managedfields.Set{})
		require.NoError(t, err)
		return got[len(got)-1].FieldsV1.GetRawString()
	}
	require.Equal(t, `{"f:list":{},"f:map":{}}`, owned(`{"map":null,"list":null}`, `{"map":{},"list":[]}`))
	require.Equal(t, `{"f:list":{},"f:map":{"f:a":{}}}`, owned(`{"map":null,"list":null}`, `{"map":{"a":"b"},"list":["c"]}`))
	require.Equal(t, `{"f:list":{},"f:map":{".":{},"f:a":{}}}`, owned(`{}`, `{"map":{"a":"b"},"list":["c"]}`))
}
