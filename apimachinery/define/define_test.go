package define_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/apitest"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/define"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const websites = "/apis/demo.example.com/v1/namespaces/default/websites"

func website(name, spec string) string {
	return "apiVersion: demo.example.com/v1\nkind: Website\nmetadata: {name: " + name + "}\nspec: " + spec
}

// both runs a test against the kind as Go declares it, and against its own definition.
func both(t *testing.T, test func(t *testing.T, w *wireClient)) {
	res := websiteKind().Resource()
	require.NoError(t, res.Fault)
	d, err := define.CRDOf(res)
	require.NoError(t, err)
	for name, c := range map[string]apitest.Config{
		"Go":         {Kinds: []apimachinery.Resource{res}},
		"definition": {CRDs: []*apiext.CustomResourceDefinition{d}},
	} {
		t.Run(name, func(t *testing.T) { test(t, over(t, apitest.Start(t, c))) })
	}
}

// TestTags: what tags say holds, and the definition that is made of them says the same.
func TestTags(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *wireClient) {
		a := w.do("POST", websites, "", website("a", "{image: nginx, ports: [{name: web}], huh: 1}"))
		require.Equal(t, 201, a.code, a.text)
		require.Equal(t, []string{`299 - "unknown field \"spec.huh\""`}, a.warning)
		require.Equal(t, map[string]any{
			"image": "nginx", "replicas": 3.0, "tier": "silver", "debug": false, "ports": []any{map[string]any{"name": "web", "number": 80.0}},
		}, a.at("spec"))
		require.Equal(t, 1.0, a.at("metadata.generation"))

		for spec, want := range map[string][]string{
			"{}":                                            {"spec.image FieldValueRequired"},
			"{image: ''}":                                   {"spec.image FieldValueInvalid"},
			"{image: a, replicas: 11}":                      {"spec.replicas FieldValueInvalid"},
			"{image: a, tier: bronze}":                      {"spec.tier FieldValueNotSupported"},
			"{image: small, replicas: 6}":                   {"spec FieldValueInvalid"},
			"{image: a, ports: [{number: 80}]}":             {"spec.ports[0].name FieldValueRequired"},
			"{image: a, ports: [{name: b},{name: b}]}":      {"spec.ports[1] FieldValueDuplicate"},
			"{image: a, ports: [{name: b, number: 70000}]}": {"spec.ports[0].number FieldValueInvalid"},
		} {
			a := w.do("POST", websites, "", website("b", spec))
			require.Equal(t, 422, a.code, "%s: %s", spec, a.text)
			for _, cause := range want {
				require.Contains(t, a.causes(), cause, "%s: %s", spec, a.text)
			}
		}
		a = w.do("POST", websites, "", "{apiVersion: demo.example.com/v1, kind: Website, metadata: {name: b}}")
		require.Equal(t, 422, a.code, a.text)
		require.Contains(t, a.causes(), "spec FieldValueRequired")
		require.Equal(t, 400, w.do("POST", websites+"?fieldValidation=Strict", "", website("b", "{image: a, huh: 1}")).code)
		require.Equal(t, 0.0, w.do("POST", websites, "", website("zero", "{image: a, replicas: 0}")).at("spec.replicas"), "zero is no default")

		t.Run("update", func(t *testing.T) {
			const merge = "application/merge-patch+json"
			b := w.do("PATCH", websites+"/a", merge, "{spec: {replicas: 4, class: one}, status: {phase: Up}}")
			require.Equal(t, 200, b.code, b.text)
			require.Equal(t, 2.0, b.at("metadata.generation"))
			require.Nil(t, b.at("status.phase"))
			c := w.do("PATCH", websites+"/a", merge, "{spec: {class: two}}")
			require.Equal(t, 422, c.code, c.text)
			require.Contains(t, c.text, "Value is immutable")
			require.Equal(t, 3.0, w.do("PATCH", websites+"/a", merge, "{spec: {replicas: null}}").at("spec.replicas"), "what is taken out gets its default")
			require.Equal(t, 422, w.do("PATCH", websites+"/a", merge, "{spec: {image: null}}").code)
		})
		t.Run("status", func(t *testing.T) {
			const merge = "application/merge-patch+json"
			s := w.do("PATCH", websites+"/a/status", merge, "{spec: {replicas: 9}, metadata: {labels: {a: b}}, status: {phase: Up, replicas: 2, selector: a=b}}")
			require.Equal(t, 200, s.code, s.text)
			require.Equal(t, 3.0, s.at("spec.replicas"))
			require.Equal(t, "Up", s.at("status.phase"))
			require.Nil(t, s.at("metadata.labels"))
			bad := w.do("PATCH", websites+"/a/status", merge, "{status: {phase: Sideways}}")
			require.Equal(t, 422, bad.code)
			require.Contains(t, bad.causes(), "status.phase FieldValueNotSupported")
		})
		t.Run("scale", func(t *testing.T) {
			s := w.do("GET", websites+"/a/scale", "", "")
			require.Equal(t, []any{3.0, 2.0, "a=b"}, []any{s.at("spec.replicas"), s.at("status.replicas"), s.at("status.selector")}, s.text)
			require.Equal(t, 200, w.do("PATCH", websites+"/a/scale", "application/merge-patch+json", "{spec: {replicas: 5}}").code)
			require.Equal(t, 5.0, w.do("GET", websites+"/a", "", "").at("spec.replicas"))
			require.Equal(t, 422, w.do("PATCH", websites+"/a/scale", "application/merge-patch+json", "{spec: {replicas: 50}}").code)
		})
		t.Run("apply", func(t *testing.T) {
			const apply = "application/apply-patch+yaml"
			require.Equal(t, 201, w.do("PATCH", websites+"/c?fieldManager=one", apply, website("c", "{image: a, ports: [{name: web, number: 80}]}")).code)
			two := w.do("PATCH", websites+"/c?fieldManager=two", apply, website("c", "{ports: [{name: tls, number: 443}]}"))
			require.Equal(t, 200, two.code, two.text)
			require.Len(t, two.at("spec.ports"), 2, "ports merge by name")
			require.Equal(t, 409, w.do("PATCH", websites+"/c?fieldManager=two", apply, website("c", "{image: b}")).code)
		})
		t.Run("select", func(t *testing.T) {
			require.Len(t, w.do("GET", websites+"?fieldSelector=spec.tier%3Dsilver", "", "").at("items"), 3)
			require.Equal(t, 400, w.do("GET", websites+"?fieldSelector=spec.image%3Da", "", "").code)
		})
		t.Run("table", func(t *testing.T) {
			a := w.do("GET", websites+"/a", "", "", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
			require.Contains(t, a.text, `"cells":["a","nginx",5,"silver","Up","`)
			require.Contains(t, a.text, `{"name":"Image","type":"string","format":"","description":"what it runs","priority":0}`)
			require.Contains(t, a.text, `{"name":"Tier","type":"string","format":"","description":"Custom resource definition column (in JSONPath format): .spec.tier","priority":1}`)
		})
		t.Run("discovery", func(t *testing.T) {
			a := w.do("GET", "/apis/demo.example.com/v1", "", "")
			for _, want := range []string{`"shortNames":["ws"]`, `"name":"websites/scale"`, `"name":"websites/status"`, `"categories":["all"]`, `"singularName":"website"`} {
				require.Contains(t, a.text, want)
			}
		})
	})
}

// TestExplain: OpenAPI has the descriptions of tags.
func TestExplain(t *testing.T) {
	t.Parallel()
	w := over(t, apitest.Start(t, apitest.Config{Kinds: []apimachinery.Resource{websiteKind().Resource()}}))
	text := w.do("GET", "/openapi/v3/apis/demo.example.com/v1", "", "").text
	require.Contains(t, text, `"image":{"description":"what it runs","minLength":1,"type":"string"}`)
	require.Contains(t, text, "what it runs")
}

// TestMethods: the methods of a Spec judge, too, and a typed client in the process meets the same.
func TestMethods(t *testing.T) {
	t.Parallel()
	api := apitest.Start(t, apitest.Config{Kinds: []apimachinery.Resource{websiteKind().Resource()}})
	w := over(t, api)
	a := w.do("POST", websites, "", website("a", "{image: a, owner: nobody, replicas: 11}"))
	require.ElementsMatch(t, []string{"spec.replicas FieldValueInvalid", "spec.owner FieldValueInvalid"}, a.causes(), a.text)

	c := client.For[*Website](api.Client())
	made, err := c.Create(t.Context(), &Website{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"}, Spec: WebsiteSpec{Image: "a", Owner: "me"}})
	require.NoError(t, err)
	require.Equal(t, "silver", made.Spec.Tier)
	made.Spec.Owner = "you"
	_, err = c.Update(t.Context(), made)
	require.ErrorContains(t, err, "owners stay")
	_, err = c.Create(t.Context(), &Website{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"}})
	require.ErrorContains(t, err, "spec.image")
}

// TestKubebuilder: types, conversion and webhooks as kubebuilder and controller-runtime have them.
func TestKubebuilder(t *testing.T) {
	t.Parallel()
	res := define.Kind{
		Group: "demo.example.com", Object: &Gadget{}, Cluster: true,
		Columns:  []apimachinery.Column{define.Column("Ready", "string", `.status.conditions[?(@.type=="Ready")].status`)},
		Versions: []define.Version{define.Convertible("v1beta1", &OldGadget{}, &Gadget{})},
	}.Resource()
	w := over(t, apitest.Start(t, apitest.Config{
		Kinds:     []apimachinery.Resource{res},
		Admission: []apimachinery.Plugin{define.Defaulting(res, gadgetWebhook{}), define.Validating(res, gadgetWebhook{})},
	}))
	const gadgets, old = "/apis/demo.example.com/v1/gadgets", "/apis/demo.example.com/v1beta1/gadgets"
	a := w.do("POST", gadgets, "", "{apiVersion: demo.example.com/v1, kind: Gadget, metadata: {name: a, labels: {keep: me}}, spec: {}}")
	require.Equal(t, 201, a.code, a.text)
	require.Equal(t, 7.0, a.at("spec.size"))
	require.Equal(t, []string{`299 - "a new gadget"`}, a.warning)
	require.Equal(t, 7.0, w.do("GET", old+"/a", "", "").at("spec.width"))
	b := w.do("POST", old, "", "{apiVersion: demo.example.com/v1beta1, kind: Gadget, metadata: {name: b}, spec: {width: 9}}")
	require.Equal(t, 201, b.code, b.text)
	require.Equal(t, 9.0, w.do("GET", gadgets+"/b", "", "").at("spec.size"))
	require.Contains(t, w.do("POST", old, "", "{apiVersion: demo.example.com/v1beta1, kind: Gadget, metadata: {name: c}, spec: {}}").causes(), "spec.width FieldValueRequired")

	const merge = "application/merge-patch+json"
	require.Equal(t, 403, w.do("PATCH", gadgets+"/a", merge, "{spec: {size: 1}}").code)
	require.Equal(t, 403, w.do("DELETE", gadgets+"/a", "", "").code)
	require.Equal(t, 200, w.do("DELETE", gadgets+"/b", "", "").code)
	s := w.do("PATCH", gadgets+"/a/status", merge, "{status: {conditions: [{type: Ready, status: 'True', reason: R, message: '', lastTransitionTime: '2024-01-01T00:00:00Z'}]}}")
	require.Equal(t, 200, s.code, s.text)
	require.Contains(t, w.do("GET", gadgets, "", "", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").text, `"cells":["a","True","`)

	d, err := define.CRDOf(res)
	require.NoError(t, err)
	require.Len(t, d.Spec.Versions, 2)
	apitest.Start(t, apitest.Config{CRDs: []*apiext.CustomResourceDefinition{d}})
}

// TestFaults: what is declared badly is refused by the registry, with the reason.
func TestFaults(t *testing.T) {
	t.Parallel()
	type bad struct {
		N int `json:"n" schema:"minimun=3"`
	}
	type badRule struct {
		N int `json:"n" schema:"rule=self > "`
	}
	type badDefault struct {
		N int `json:"n,omitempty" schema:"default=true"`
	}
	type badColumn struct {
		N []int `json:"n" column:"N"`
	}
	for want, k := range map[string]define.Kind{
		`did you mean "minimum"`:    {Group: "a.b", Kind: "Bad", Object: &apimachinery.Typed[bad, struct{}]{}},
		"compilation failed":        {Group: "a.b", Kind: "Bad", Object: &apimachinery.Typed[badRule, struct{}]{}},
		"default":                   {Group: "a.b", Kind: "Bad", Object: &apimachinery.Typed[badDefault, struct{}]{}},
		"a column can't show":       {Group: "a.b", Kind: "Bad", Object: &apimachinery.Typed[badColumn, struct{}]{}},
		"it needs a Kind":           {Group: "a.b", Object: &Website{}},
		"it needs a Group":          {Kind: "Bad", Object: &Website{}},
		"pointer to a struct":       {Group: "a.b", Kind: "Bad"},
		"ToHub and FromHub":         {Group: "a.b", Object: &Gadget{}, Versions: []define.Version{define.Convertible("v1beta1", &Website{}, &Gadget{})}},
		"the paths Spec and Status": {Group: "a.b", Object: &Gadget{}, Scale: &apimachinery.ScalePaths{}},
		`column "X"`:                {Group: "a.b", Object: &Gadget{}, Columns: []apimachinery.Column{define.Column("X", "string", ".a[")}},
	} {
		_, err := apimachinery.NewRegistry(k.Resource())
		require.ErrorContains(t, err, want)
		_, err = define.CRDOf(k.Resource())
		require.Error(t, err)
	}
}
