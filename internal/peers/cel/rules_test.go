package cel

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	theirs "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"

	ours "github.com/bedplate/bedplate/apimachinery/cel"
)

// A scenario is a schema, with objects to judge by it.
type scenario struct {
	Name   string          `json:"name"`
	Schema json.RawMessage `json:"schema"`
	// Rules are added to the root of the schema, each alone.
	Rules   []string `json:"rules"`
	Objects []object `json:"objects"`
}

type object struct {
	New json.RawMessage `json:"new"`
	Old json.RawMessage `json:"old"`
}

// TestRules compares all scenarios of testdata.
func TestRules(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	env := ours.New()
	rules := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		var all []scenario
		require.NoError(t, yaml.UnmarshalStrict(text, &all))
		for _, s := range all {
			t.Run(strings.TrimSuffix(filepath.Base(f), ".yaml")+"/"+s.Name, func(t *testing.T) {
				for _, sub := range s.split(t) {
					rules++
					compare(t, env, sub, s.Objects)
				}
			})
		}
	}
	t.Logf("%d schemas compared", rules)
}

// split makes a schema for each rule to add.
func (s scenario) split(t *testing.T) []*apiextensionsv1.JSONSchemaProps {
	read := func() *apiextensionsv1.JSONSchemaProps {
		p := &apiextensionsv1.JSONSchemaProps{}
		require.NoError(t, yaml.UnmarshalStrict(s.Schema, p))
		return p
	}
	if len(s.Rules) == 0 {
		return []*apiextensionsv1.JSONSchemaProps{read()}
	}
	var all []*apiextensionsv1.JSONSchemaProps
	for _, r := range s.Rules {
		p := read()
		p.XValidations = append(p.XValidations, apiextensionsv1.ValidationRule{Rule: r})
		all = append(all, p)
	}
	return all
}

func compare(t *testing.T, env *ours.Environment, s *apiextensionsv1.JSONSchemaProps, objects []object) {
	rule := ""
	if n := len(s.XValidations); n > 0 {
		rule = s.XValidations[n-1].Rule
	}
	path := field.NewPath("spec", "validation", "openAPIV3Schema")
	wanted := theirCheck(t, s)
	got := texts(env.CheckSchema(s, path, ours.SchemaCheck{}))
	require.Equal(t, wanted, got, "check of %q", rule)
	internal := &apiextensions.JSONSchemaProps{}
	require.NoError(t, apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(s, internal, nil))
	structural, err := schema.NewStructural(internal)
	require.NoError(t, err)
	compareCosts(t, env, s, structural, rule)

	validator := theirs.NewValidator(structural, true, celconfig.PerCallLimit)
	judge := env.Rules(s, true)
	for _, o := range objects {
		newer, older := decode(t, o.New), decode(t, o.Old)
		var wanted field.ErrorList
		wantedLeft := int64(celconfig.RuntimeCELCostBudget)
		if validator != nil {
			var correlated *common.CorrelatedObject
			if older != nil {
				correlated = common.NewCorrelatedObject(newer, older, &model.Structural{Structural: structural})
			}
			wanted, wantedLeft = validator.Validate(context.Background(), nil, structural, newer, older, celconfig.RuntimeCELCostBudget, theirs.WithRatcheting(correlated))
		}
		got, left := judge.Validate(context.Background(), nil, newer, older, ours.Budget)
		assert.Equal(t, texts(wanted), texts(got), "rule %q of %s", rule, o.New)
		assert.Equal(t, wantedLeft, left, "cost of rule %q of %s", rule, o.New)
	}
}

func compareCosts(t *testing.T, env *ours.Environment, s *apiextensionsv1.JSONSchemaProps, structural *schema.Structural, rule string) {
	d := model.SchemaDeclType(structural, true)
	if d == nil {
		return
	}
	set := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
	wanted, err := theirs.Compile(structural, d, celconfig.PerCallLimit, set, theirs.NewExpressionsEnvLoader())
	require.NoError(t, err)
	got, err := env.Estimates(s, true)
	require.NoError(t, err)
	for i, w := range wanted {
		assert.Equal(t, w.MaxCost, got[i], "estimate of %q", rule)
	}
}

func decode(t *testing.T, raw []byte) any {
	if len(raw) == 0 {
		return nil
	}
	var v any
	require.NoError(t, utiljson.Unmarshal(raw, &v))
	return v
}

// theirCheck is what Kubernetes says about the rules of a definition with this schema.
func theirCheck(t *testing.T, s *apiextensionsv1.JSONSchemaProps) []string {
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "things.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "things", Singular: "thing", Kind: "Thing", ListKind: "ThingList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: s}}},
		},
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
	internal := &apiextensions.CustomResourceDefinition{}
	require.NoError(t, apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, internal, nil))
	internal.Status.StoredVersions = []string{"v1"}
	var of field.ErrorList
	for _, e := range validation.ValidateCustomResourceDefinition(context.Background(), internal) {
		if strings.Contains(e.Field, "openAPIV3Schema") {
			of = append(of, e)
		}
	}
	return texts(of)
}

var (
	selfType = regexp.MustCompile(`selfType[0-9]+(_[0-9]+)?`)
	position = regexp.MustCompile(`0x[0-9a-f]+`)
)

// texts are in order, since Kubernetes walks through maps, and without the names that both make up.
func texts(errs field.ErrorList) []string {
	all := []string{}
	for _, e := range errs {
		all = append(all, position.ReplaceAllString(selfType.ReplaceAllString(e.Error(), "selfType"), "pointer"))
	}
	slices.Sort(all)
	return all
}
