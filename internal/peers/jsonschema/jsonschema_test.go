package jsonschema

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	apivalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/common"

	"github.com/bedplate/bedplate/apimachinery/jsonschema"
)

var (
	seed   = flag.Uint64("seed", 1, "of the random schemas")
	rounds = flag.Int("rounds", 3000, "schemas to try")
)

func internal(t *testing.T, s *props) *apiextensions.JSONSchemaProps {
	var out apiextensions.JSONSchemaProps
	require.NoError(t, apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(s.DeepCopy(), &out, nil))
	return &out
}

// told is what an API tells of an error.
func told(errs field.ErrorList) []string {
	out := []string{}
	for _, e := range errs {
		value := "…"
		switch v := e.BadValue.(type) {
		case string, bool, int64, float64, int, nil:
			value = fmt.Sprintf("%T %v", v, v)
		case map[string]any, []any:
			raw, _ := json.Marshal(v)
			value = string(raw)
		}
		if e.Detail == "must not have unknown fields" {
			value = "…" // it shows as much as was coerced before an error, in random order
		}
		at, detail := e.Field, e.Detail
		if to := strings.Index(at, ".default"); to > 0 && (detail == "must be a string" || strings.HasPrefix(detail, "json: ") || strings.HasPrefix(detail, "parsing time")) {
			at, value, detail = at[:to], "…", "wrong type in metadata" // only the first is told, in random order
		}
		out = append(out, fmt.Sprintf("%s %s %s %s", e.Type, at, value, detail))
	}
	slices.Sort(out)
	return out
}

func text(v any) string {
	raw, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// Check finds the faults that Kubernetes finds when a definition is created.
func TestCheck(t *testing.T) {
	g := &generator{rand.New(rand.NewPCG(*seed, 1)), true}
	refused := 0
	for i := range *rounds {
		s := g.root()
		status := g.one(4)
		crd := &apiextensionsv1.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: "things.example.com"},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: "example.com", Scope: "Namespaced",
				Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "things", Singular: "thing", Kind: "Thing", ListKind: "ThingList"},
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: s.DeepCopy()}}},
			},
		}
		if status {
			crd.Spec.Versions[0].Subresources = &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}}
		}
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
		var in apiextensions.CustomResourceDefinition
		require.NoError(t, apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, &in, nil))
		in.Status.StoredVersions = []string{"v1"}
		path := field.NewPath("spec", "validation", "openAPIV3Schema")
		want := told(validation.ValidateCustomResourceDefinition(context.Background(), &in))
		want = slices.DeleteFunc(want, func(e string) bool { return !strings.Contains(e, path.String()) })
		got := told(jsonschema.Check(s, path, jsonschema.CheckOptions{Status: status}))
		if len(want) > 0 {
			refused++
		}
		require.Equal(t, want, got, "round %d of seed %d: %s", i, *seed, text(s))
	}
	t.Logf("%d schemas, %d of them refused", *rounds, refused)
}

// valid returns a schema that passes Check, in the forms of both.
func valid(t *testing.T, g *generator) (*props, *structuralschema.Structural, *jsonschema.Schema) {
	for {
		s := g.root()
		if len(jsonschema.Check(s, nil, jsonschema.CheckOptions{})) > 0 {
			continue
		}
		ss, err := structuralschema.NewStructural(internal(t, s))
		require.NoError(t, err)
		require.NoError(t, defaulting.PruneDefaults(ss))
		ours, err := jsonschema.Compile(s)
		require.NoError(t, err)
		return s, ss, ours
	}
}

func object(g *generator, s *props) map[string]any {
	o, ok := g.value(s, 3).(map[string]any)
	for !ok {
		o, ok = g.value(s, 3).(map[string]any)
	}
	if !g.one(10) {
		o["apiVersion"], o["kind"] = "example.com/v1", "Thing"
	}
	if g.one(2) {
		o["metadata"] = map[string]any{"name": "x"}
	}
	return runtime.DeepCopyJSON(o)
}

// Objects are pruned, coerced and given defaults as by Kubernetes.
func TestPruneAndDefault(t *testing.T) {
	g := &generator{rand.New(rand.NewPCG(*seed, 2)), false}
	for i := range *rounds {
		s, ss, ours := valid(t, g)
		for range 4 {
			o := object(g, s)
			label := func() string { return fmt.Sprintf("round %d of seed %d: %s\n%s", i, *seed, text(s), text(o)) }
			want, got := runtime.DeepCopyJSON(o), runtime.DeepCopyJSON(o)
			apiVersion, kind, meta := want["apiVersion"], want["kind"], runtime.DeepCopyJSONValue(want["metadata"])

			paths := pruning.PruneWithOptions(want, ss, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
			defaulting.PruneNonNullableNullsWithoutDefaults(want, ss)
			dropped := ours.Prune(got)
			slices.Sort(paths)
			require.Equal(t, append([]string{}, paths...), append([]string{}, dropped...), label())
			for name, v := range map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": meta} { // which Kubernetes restores
				if v != nil {
					want[name] = v
					got[name] = runtime.DeepCopyJSONValue(v)
				} else {
					delete(want, name)
					delete(got, name)
				}
			}
			require.Equal(t, want, got, label())
			require.Empty(t, ours.Prune(got), label())
			require.Equal(t, want, got, label())

			drop := g.one(2)
			wantErr, unknown := objectmeta.CoerceWithOptions(nil, want, ss, false, objectmeta.CoerceOptions{DropInvalidFields: drop, ReturnUnknownFieldPaths: true})
			ourUnknown, gotErr := ours.CoerceMetadata(got, jsonschema.CoerceOptions{Drop: drop, Unknown: true})
			require.Equal(t, wantErr == nil, gotErr == nil, label())
			if wantErr != nil {
				continue // which of several errors comes first is chance
			}
			require.Equal(t, append([]string{}, unknown...), append([]string{}, ourUnknown...), label())
			require.Equal(t, want, got, label())

			defaulting.Default(want, ss)
			ours.Default(got)
			require.Equal(t, want, got, label())
			ours.Default(got)
			require.Equal(t, want, got, label())
		}
	}
}

// Values are refused for the reasons for which Kubernetes refuses them, on create and on update.
func TestValidate(t *testing.T) {
	g := &generator{rand.New(rand.NewPCG(*seed, 3)), false}
	compared, refused, forgiven := 0, 0, 0
	for i := range *rounds {
		s, ss, ours := valid(t, g)
		v, _, err := apivalidation.NewSchemaValidator(internal(t, s))
		require.NoError(t, err)
		for range 4 {
			o := object(g, s)
			if g.one(2) {
				ours.Prune(o)
				ours.Default(o)
			}
			label := func() string { return fmt.Sprintf("round %d of seed %d: %s\n%s", i, *seed, text(s), text(o)) }
			want := apivalidation.ValidateCustomResource(nil, o, v)
			want = append(want, objectmeta.Validate(nil, o, ss, false)...)
			want = append(want, listtype.ValidateListSetsAndMaps(nil, ss, o)...)
			got := ours.Validate(nil, o, nil)
			require.Equal(t, told(want), told(got), label())

			n, ok := g.changed(o, 4).(map[string]any)
			if !ok {
				continue
			}
			n = runtime.DeepCopyJSON(n)
			correlation := common.NewCorrelatedObject(n, o, &model.Structural{Structural: ss})
			update := apivalidation.ValidateCustomResourceUpdate(nil, n, o, v, apivalidation.WithRatcheting(correlation))
			update = append(update, objectmeta.Validate(nil, n, ss, false)...)
			if len(listtype.ValidateListSetsAndMaps(nil, ss, o)) == 0 {
				update = append(update, listtype.ValidateListSetsAndMaps(nil, ss, n)...)
			}
			require.Equal(t, told(update), told(ours.Validate(nil, n, o)), "%s\nold of %s", text(n), label())
			compared++
			if len(want) > 0 {
				refused++
			}
			if len(update) < len(want) {
				forgiven++
			}
		}
	}
	t.Logf("%d objects, %d refused, %d less refused after a change", compared, refused, forgiven)
}
