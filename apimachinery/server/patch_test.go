package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

const (
	jsonPatch  = "application/json-patch+json"
	mergePatch = "application/merge-patch+json"
	strategic  = "application/strategic-merge-patch+json"
	applyPatch = "application/apply-patch+yaml"
)

func TestPatches(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		made := must[database](t, d, create(databases, newDatabase("a")))
		o := must[database](t, d, patch(databases, "a", mergePatch, `{"spec":{"options":{"a":"1","b":"2"}}}`))
		require.Equal(t, map[string]string{"a": "1", "b": "2"}, o.Spec.Options)
		o = must[database](t, d, patch(databases, "a", mergePatch, `{"spec":{"options":{"a":null}}}`))
		require.Equal(t, map[string]string{"b": "2"}, o.Spec.Options)
		o = must[database](t, d, patch(databases, "a", jsonPatch, `[{"op":"test","path":"/spec/options/b","value":"2"},{"op":"add","path":"/metadata/labels","value":{"x":"y"}}]`))
		require.Equal(t, map[string]string{"x": "y"}, o.Labels)
		o = must[database](t, d, patch(databases, "a", strategic, `{"spec":{"ports":[{"containerPort":1,"name":"a"}]}}`))
		o = must[database](t, d, patch(databases, "a", strategic, `{"spec":{"ports":[{"containerPort":2,"name":"b"}]}}`))
		require.Len(t, o.Spec.Ports, 2, "lists merge by key")
		o = must[database](t, d, patch(databases, "a", strategic, `{"spec":{"ports":[{"containerPort":1,"$patch":"delete"}]}}`))
		require.Len(t, o.Spec.Ports, 1)
		require.Equal(t, made.UID, o.UID)
		same := must[database](t, d, patch(databases, "a", mergePatch, `{}`))
		require.Equal(t, o.ResourceVersion, same.ResourceVersion)

		r := patch(databases, "a", mergePatch, `{"status":{"note":"n"},"spec":{"engine":"x"}}`)
		r.Sub = "status"
		o = must[database](t, d, r)
		require.Equal(t, "n", o.Status.Note)
		require.Equal(t, "pg", o.Spec.Engine)
	})
}

func TestPatchRefuses(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		made := must[database](t, d, create(databases, newDatabase("a")))
		many := "[" + strings.Repeat(`{"op":"test","path":"/kind","value":"Database"},`, 10_000) + `{"op":"test","path":"/kind","value":"Database"}]`
		doubling := `[{"op":"add","path":"/spec/options","value":{"k":"` + strings.Repeat("x", 1000) + `"}}`
		for i := range 40 {
			doubling += fmt.Sprintf(`,{"op":"copy","from":"/spec","path":"/spec/options/o%d"}`, i)
		}
		doubling += "]"
		for name, c := range map[string]struct {
			typ, body string
			code      int32
			says      string
		}{
			"malformed":       {mergePatch, `{`, 400, "error decoding patch"},
			"not an object":   {mergePatch, `[]`, 400, "error decoding patch"},
			"bad JSON patch":  {jsonPatch, `{}`, 400, ""},
			"unknown op":      {jsonPatch, `[{"op":"x","path":"/a"}]`, 400, "unknown operation"},
			"test fails":      {jsonPatch, `[{"op":"test","path":"/kind","value":"x"}]`, 422, "testing value failed"},
			"no such path":    {jsonPatch, `[{"op":"remove","path":"/spec/x/y"}]`, 422, `no member "x"`},
			"too many":        {jsonPatch, many, 413, "the allowed maximum operations in a JSON patch is 10000, got 10001"},
			"doubling":        {jsonPatch, doubling, 413, "copies outgrow the limit"},
			"wrong type":      {mergePatch, `{"spec":{"replicas":"x"}}`, 422, "patch: Invalid value"},
			"invalid":         {mergePatch, `{"spec":{"engine":""}}`, 422, "spec.engine: Required value"},
			"other name":      {mergePatch, `{"metadata":{"name":"b"}}`, 422, "metadata.name: Invalid value: \"b\": field is immutable"},
			"other uid":       {mergePatch, `{"metadata":{"uid":"b"}}`, 422, "metadata.uid: Invalid value"},
			"old revision":    {mergePatch, `{"metadata":{"resourceVersion":"1"}}`, 409, "the object has been modified"},
			"unknown content": {"text/plain", `{}`, 415, ""},
			"bad strategic":   {strategic, `{"spec":{"$patch":"x"}}`, 422, "unknown patch type"},
		} {
			t.Run(name, func(t *testing.T) {
				start := time.Now()
				_, _, err := do(t, d, patch(databases, "a", c.typ, c.body))
				require.Error(t, err)
				var status apierrors.APIStatus
				require.ErrorAs(t, err, &status)
				require.Equal(t, c.code, status.Status().Code, "%v", err)
				require.ErrorContains(t, err, c.says)
				require.Less(t, time.Since(start), 5*time.Second)
			})
		}
		strict := patch(databases, "a", mergePatch, `{"spec":{"nonsense":1}}`)
		strict.Options = &metav1.PatchOptions{FieldValidation: "Strict"}
		_, _, err := do(t, d, strict)
		require.True(t, apierrors.IsInvalid(err), "%v", err)
		require.ErrorContains(t, err, `strict decoding error: unknown field "spec.nonsense"`)
		require.Equal(t, made, must[database](t, d, get(databases, "a")))
	})
}

func TestApply(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		apply := func(manager, body string, force bool) *apimachinery.Request {
			r := patch(databases, "a", applyPatch, body)
			r.Options = &metav1.PatchOptions{FieldManager: manager, Force: &force}
			return r
		}
		const head = "apiVersion: db.example.com/v1\nkind: Database\nmetadata: {name: a}\n"
		_, resp, err := do(t, d, apply("one", head+"spec: {engine: pg, options: {a: \"1\"}}", false))
		require.NoError(t, err)
		require.Equal(t, 201, resp.Code)
		o := must[database](t, d, get(databases, "a"))
		require.EqualValues(t, 1, *o.Spec.Replicas)
		require.Len(t, o.ManagedFields, 1)
		require.Equal(t, metav1.ManagedFieldsOperationApply, o.ManagedFields[0].Operation)

		again := must[database](t, d, apply("one", head+"spec: {engine: pg, options: {a: \"1\"}}", false))
		require.Equal(t, o, again, "the same again changes nothing")

		_, _, err = do(t, d, apply("two", head+"spec: {engine: pg, options: {a: \"2\"}}", false))
		require.True(t, apierrors.IsConflict(err), "%v", err)
		require.ErrorContains(t, err, `Apply failed with 1 conflict: conflict with "one": .spec.options.a`)
		require.True(t, apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict))
		o = must[database](t, d, apply("two", head+"spec: {engine: pg, options: {a: \"2\"}}", true))
		require.Equal(t, "2", o.Spec.Options["a"])
		o = must[database](t, d, apply("two", head+"spec: {engine: pg}", false))
		require.Empty(t, o.Spec.Options, "what nobody applies any more goes")

		for name, c := range map[string]struct {
			r    *apimachinery.Request
			code int32
			says string
		}{
			"no manager":     {apply("", head, false), 422, "fieldManager: Required value: is required for apply patch"},
			"other version":  {apply("one", "apiVersion: v1\nkind: Database\nmetadata: {name: a}", false), 400, "Incorrect version specified in apply patch"},
			"other kind":     {apply("one", "apiVersion: db.example.com/v1\nkind: X\nmetadata: {name: a}", false), 400, "kind"},
			"other name":     {apply("one", "apiVersion: db.example.com/v1\nkind: Database\nmetadata: {name: b}", false), 400, "does not match the name on the URL"},
			"managed fields": {apply("one", "apiVersion: db.example.com/v1\nkind: Database\nmetadata: {name: a, managedFields: [{}]}", false), 400, "metadata.managedFields must be nil"},
			"unknown field":  {apply("one", head+"spec: {engine: pg, nonsense: 1}", false), 400, "field not declared in schema"},
			"bad YAML":       {apply("one", ": [", false), 400, "error decoding YAML"},
		} {
			_, _, err := do(t, d, c.r)
			var status apierrors.APIStatus
			require.ErrorAs(t, err, &status, name)
			require.Equal(t, c.code, status.Status().Code, "%s: %v", name, err)
			require.ErrorContains(t, err, c.says, name)
		}

		st := apply("agent", head+"status: {ready: true}", false)
		st.Sub = "status"
		o = must[database](t, d, st)
		require.True(t, o.Status.Ready)
		require.Equal(t, "pg", o.Spec.Engine)
	})
}

func TestManagers(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		r := create(configMaps, configMap("a", map[string]string{"a": "1"}))
		r.Options = &metav1.CreateOptions{FieldManager: "creator"}
		must[corev1.ConfigMap](t, d, r)
		p := patch(configMaps, "a", mergePatch, `{"data":{"b":"2"}}`)
		p.Options = &metav1.PatchOptions{FieldManager: "patcher"}
		o := must[corev1.ConfigMap](t, d, p)
		require.Len(t, o.ManagedFields, 2)
		require.Equal(t, "creator", o.ManagedFields[0].Manager)
		require.Equal(t, `{"f:data":{".":{},"f:a":{}}}`, string(o.ManagedFields[0].FieldsV1.GetRawBytes()))
		require.Equal(t, "patcher", o.ManagedFields[1].Manager)
		require.Equal(t, `{"f:data":{"f:b":{}}}`, string(o.ManagedFields[1].FieldsV1.GetRawBytes()))
	})
}
