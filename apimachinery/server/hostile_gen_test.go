package server_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/bedplate/bedplate/apimachinery"
)

// hostileGen makes the corpus from a seed.
type hostileGen struct {
	*rand.Rand
	makers []func() hostile
	all    []*apimachinery.Resource
}

func newHostile(r *rand.Rand, registry *apimachinery.Registry) *hostileGen {
	g := &hostileGen{Rand: r, all: registry.All()}
	g.makers = []func() hostile{
		g.brokenJSON, g.wrongObject, g.wrongMeta, g.deep, g.brokenYAML, g.protobuf, g.jsonPatch, g.mergePatch, g.strategicPatch,
		g.applyPatch, g.labelSelector, g.fieldSelector, g.token, g.hostilePath, g.scope, g.options, g.headers, g.impersonation, g.method,
		g.mutated, g.mutated, g.random, g.random, g.deleteBody, g.mutatedPatch, g.statusBody,
	}
	return g
}

func (g *hostileGen) next(i int) hostile {
	if i%1000 == 999 {
		return g.huge()
	}
	return g.makers[i%len(g.makers)]()
}

func pick[T any](g *hostileGen, list ...T) T { return list[g.IntN(len(list))] }

const (
	jsonType, yamlType, protoType = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
	mapsPath                      = "/api/v1/namespaces/default/configmaps"
	podsPath                      = "/api/v1/namespaces/default/pods"
	deployments                   = "/apis/apps/v1/namespaces/default/deployments"
	databasesPath                 = "/apis/db.example.com/v1/namespaces/default/databases"
)

func typed(t string) [][2]string { return [][2]string{{"Content-Type", t}} }

// valid is a manifest that its path takes.
func (g *hostileGen) valid() (path, body string) {
	name := fmt.Sprintf("x%d", g.IntN(1e9))
	switch g.IntN(4) {
	case 0:
		return mapsPath, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `","labels":{"a":"b"}},"data":{"k":"v"}}`
	case 1:
		return podsPath, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"` + name + `"},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"env":[{"name":"A","value":"b"}],"resources":{"limits":{"cpu":"1"}}}],"volumes":[{"name":"v","emptyDir":{}}]}}`
	case 2:
		return deployments, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"` + name + `"},"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`
	}
	return databasesPath, `{"apiVersion":"db.example.com/v1","kind":"Database","metadata":{"name":"` + name + `"},"spec":{"engine":"pg","replicas":2,"options":{"a":"b"}}}`
}

func (g *hostileGen) brokenJSON() hostile {
	path, body := g.valid()
	at := 1 + g.IntN(len(body)-1)
	switch g.IntN(9) {
	case 0:
		body = body[:at]
	case 1:
		body += pick(g, "}", "x", `{"a":1}`, "]", ",")
	case 2:
		body = strings.Replace(body, ":", pick(g, "=", "::", " "), 1)
	case 3:
		body = pick(g, "[", "[]", "null", "1", `"x"`, "true", "{", "}", " ", "\x00", "\xff\xfe{}", "NaN", "[[[[", `{"a`, "{{}}")
	case 4:
		body = strings.Replace(body, `"`, pick(g, "'", "", "`"), 1)
	case 5:
		body = strings.Replace(body, `"metadata"`, pick(g, `"meta\x"`, `"metadata\u12"`, "\"meta\ndata\""), 1)
	case 6:
		body = strings.Replace(body, "}", ",}", 1)
	case 7:
		body = "{" + strings.Repeat(`"a":{`, at) + body
	case 8:
		body = `/* x */` + body
	}
	return hostile{kind: "broken JSON", method: "POST", path: path, header: typed(jsonType), body: body, codes: []int{400, 422}}
}

// wrongObject is JSON of the wrong types.
func (g *hostileGen) wrongObject() hostile {
	bad := pick(g, `1`, `"x"`, `[]`, `true`, `[{}]`, `-1e400`, `99999999999999999999`, `1.5`)
	h := hostile{kind: "wrong types", method: "POST", header: typed(jsonType), codes: []int{400, 422}}
	switch g.IntN(9) {
	case 0:
		h.path, h.body = mapsPath, `{"metadata":`+bad+`}`
	case 1:
		h.path, h.body = mapsPath, `{"metadata":{"name":"x"},"data":`+pick(g, `1`, `"x"`, `[1]`, `{"a":1}`, `{"a":{}}`, `{"a":[]}`, `{"bad key":"x"}`, `{"..":"x"}`, `{"":"x"}`)+`}`
	case 2:
		h.path, h.body = podsPath, `{"metadata":{"name":"x"},"spec":{"containers":`+pick(g, bad, `[1]`, `[[]]`, `[null]`, `[{"name":1}]`, `[{"name":"c","image":"i","ports":{}}]`, `[{"name":"c","image":"i","resources":{"limits":{"cpu":"x"}}}]`, `[]`)+`}}`
	case 3:
		h.path, h.body = deployments, `{"metadata":{"name":"x"},"spec":{"replicas":`+pick(g, `"x"`, `1e99`, `-1`, `2147483648`, `{}`)+`}}`
	case 4:
		h.path, h.body = databasesPath, `{"metadata":{"name":"x"},"spec":`+pick(g, bad, `{}`, `{"engine":1}`, `{"engine":"pg","replicas":"1"}`, `{"engine":"pg","ports":[1]}`)+`}`
	case 5:
		h.path, h.body = mapsPath, `{"apiVersion":"`+pick(g, "v2", "apps/v1", "v1/", "a/b/c")+`","kind":"ConfigMap","metadata":{"name":"x"}}`
	case 6:
		h.path, h.body = mapsPath, `{"apiVersion":"v1","kind":"`+pick(g, "Secret", "configmap", "ConfigMapList", "Ünder", "x y")+`","metadata":{"name":"x"}}`
	case 7:
		h.path, h.body = mapsPath, `{"apiVersion":`+pick(g, `1`, `{}`, `[]`)+`,"kind":`+pick(g, `1`, `{}`, `[]`)+`,"metadata":{"name":"x"}}`
	case 8:
		path, body := g.valid()
		h.path, h.body = path+"?fieldValidation=Strict", strings.Replace(body, `"metadata"`, pick(g, `"unknown":1,"metadata"`, `"metadata":{},"metadata"`, `"kind":"x","kind":"y","metadata"`), 1)
	}
	return h
}

// wrongMeta is metadata that no object may have.
func (g *hostileGen) wrongMeta() hostile {
	meta := pick(g,
		`"name":"Upper"`, `"name":"a/b"`, `"name":".."`, `"name":"a..b/"`, `"name":"`+strings.Repeat("x", 254)+`"`, `"name":"a\u0000b"`, `"name":"ü"`,
		`"name":"x","namespace":"other"`, `"name":"x","labels":{"a b":"c"}`, `"name":"x","labels":{"a":"`+strings.Repeat("x", 64)+`"}`,
		`"name":"x","labels":{"a":"-"}`, `"name":"x","annotations":{"a b":"c"}`, `"name":"x","resourceVersion":"5"`, ``,
		`"name":"x","annotations":{"a":"`+strings.Repeat("x", 256<<10)+`"}`, `"name":"x","finalizers":["nodomain"]`,
		`"name":"x","ownerReferences":[{}]`, `"name":"x","ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p"}]`,
		`"name":"x","generateName":1`, `"name":1`, `"name":{}`, `"generateName":"`+strings.Repeat("-", 3)+`"`, `"name":"x","labels":[]`,

		`"name":"x","creationTimestamp":"yesterday"`, `"name":"x","deletionGracePeriodSeconds":"x"`, `"name":"x","generation":"1"`,
		`"name":"x","labels":{"/":"x"}`, `"name":"x","labels":{"a/b/c":"x"}`, `"name":"there"`,
	)
	return hostile{
		kind: "wrong metadata", method: "POST", path: mapsPath, header: typed(jsonType), body: `{"metadata":{` + meta + `}}`,
		codes: []int{400, 409, 422},
	}
}

// deep is nesting, which must cost nothing.
func (g *hostileGen) deep() hostile {
	n := pick(g, 1000, 10_001, 50_000, 100_000)
	open := pick(g, `{"a":`, `[`, `[{"a":`)
	body, contentType, method := strings.Repeat(open, n), jsonType, "POST"
	path := mapsPath
	switch g.IntN(6) {
	case 0:
	case 1:
		body = `{"metadata":{"name":"x"},"data":` + body
	case 2:
		body = `{"metadata":{"name":"x","managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":` + strings.Repeat(`{"f:a":`, n) + strings.Repeat("}", n) + `}]},"data":[]}`
	case 3:
		contentType, body = yamlType, strings.Repeat(pick(g, "[", "{a: ", "- "), min(n, 20_000))
	case 4:
		method, path, contentType = "PATCH", mapsPath+"/there", pick(g, "application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml")
		path += "?fieldManager=m"
		body = `{"data":` + strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) + "}"
	case 5:
		path, body = databasesPath, `{"metadata":{"name":"x"},"spec":{"engine":"pg","options":{"a":`+strings.Repeat("[", n)+strings.Repeat("]", n)+`}}}`
	}
	return hostile{kind: "deep", method: method, path: path, header: typed(contentType), body: body, codes: []int{400, 413, 422}}
}

func (g *hostileGen) brokenYAML() hostile {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i+1, i+1, i, i, i, i, i, i, i, i, i)
	}
	body := pick(g,
		"metadata:\n\tname: x\n", "metadata: {name: x\n", "a: b: c: d", "- a\n- b\n", "!!binary |\n  x\n", bomb, "metadata: &m\n  name: x\n  labels: *m\n",
		"*nothing", "metadata: *nothing\n", "&a [*a]", "%YAML 9.9\n---\nx", "? [a]\n: b\n", "\x00\x01", "\"", "'", "|",
		"metadata:\n  name: x\n name: y\n", "!!python/object:os.system x", "metadata: {name: 1.0e+}\ndata: [", "{? : }}", "@", "`", strings.Repeat("&", 5000),
		"metadata:\n  name: x\ndata:\n  a: [1]\n", "metadata:\n  name: [x]\n", "metadata: 2001-01-01\n", "kind: Pod\nmetadata: {name: x}\n", "<<: *x\n",
		strings.Repeat("? ", 2000), strings.Repeat("- ", 5000)+"x", "data:\n  a: !!float x\nmetadata: []",
	)
	return hostile{kind: "broken YAML", method: "POST", path: mapsPath, header: typed(yamlType), body: body, codes: []int{400, 413, 422}}
}

func (g *hostileGen) protobuf() hostile {
	name := pick(g, "Bad Name", "there")
	good, err := apimachinery.EncodeProtobuf(&corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: map[string]string{"a": "b"},
	})
	if err != nil {
		panic(err)
	}
	body := string(good)
	switch g.IntN(7) {
	case 0:
		body = body[:g.IntN(len(body))]
	case 1:
		raw := []byte(body)
		for range 1 + g.IntN(3) {
			raw[g.IntN(4)] ^= byte(1 + g.IntN(255))
		}
		body = string(raw)
	case 2:
		body = "k8s\x00" + g.noise(g.IntN(200))
	case 3:
		body = g.noise(g.IntN(200))
	case 4:
		body = "k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12" + pick(g, "\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "\xff\xff\xff\xff\x0f", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01") + "x"
	case 5:
		body = "k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x7f" + strings.Repeat("\x0b", 100+g.IntN(20_000))
	}
	h := hostile{kind: "protobuf", method: "POST", path: mapsPath, header: typed(protoType), body: body, codes: []int{400, 409, 415, 422}}
	if g.IntN(8) == 0 {
		h.path = databasesPath
	}
	return h
}

func (g *hostileGen) noise(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return string(b)
}

func (g *hostileGen) jsonPatch() hostile {
	doubling := `[{"op":"add","path":"/data/a","value":"` + strings.Repeat("x", 1000) + `"}` +
		strings.Repeat(`,{"op":"add","path":"/metadata/annotations","value":{}},{"op":"copy","from":"/data","path":"/data/b"}`, 30) + `]`
	body := pick(g,
		`{}`, `[`, `[1]`, `[[]]`, `"x"`, `[{}]`, `[{"op":"x","path":"/data"}]`, `[{"op":"add"}]`, `[{"op":"remove","path":"/nothing"}]`,
		`[{"op":"test","path":"/data/a","value":"c"}]`, `[{"op":"replace","path":"/data/none/x","value":1}]`, `[{"op":"add","path":"data","value":1}]`,
		`[{"op":"add","path":"/data/~2","value":1}]`, `[{"op":"move","from":"/nothing","path":"/data/x"}]`, `[{"op":"copy","from":"/nothing","path":"/data/x"}]`,
		`[{"op":"copy","from":1,"path":"/data/x"}]`, `[{"op":"replace","path":"","value":null}]`, `[{"op":"replace","path":"","value":[]}]`,
		`[{"op":"remove","path":""}]`, `[{"op":"replace","path":"/metadata/name","value":"else"}]`, `[{"op":"replace","path":"/kind","value":"Secret"}]`,
		`[{"op":"add","path":"/metadata/finalizers/9999999999","value":"a/b"}]`, `[{"op":"add","path":"/metadata/finalizers/-1","value":"a/b"}]`,
		`[{"op":"add","path":"/metadata/labels","value":[]}]`, `[{"op":"replace","path":"/metadata","value":1}]`, doubling,
		`[`+strings.TrimSuffix(strings.Repeat(`{"op":"test","path":"/data/a","value":"b"},`, 10_001), ",")+`]`,
		`[{"op":"copy","from":"","path":"/data/x"}]`, `[{"op":"move","from":"/data","path":"/data/x/y"}]`, `[{"op":"add","path":"/data","value":{"a":1}}]`,
		`[{"op":"replace","path":"/metadata/resourceVersion","value":"1"}]`, `[{"op":"replace","path":"/metadata/uid","value":"x"}]`,
	)
	return hostile{kind: "JSON patch", method: "PATCH", path: mapsPath + "/there", header: typed("application/json-patch+json"), body: body, codes: []int{400, 409, 413, 422}}
}

func (g *hostileGen) badMerge() string {
	return pick(g,
		`[]`, `1`, `"x"`, `{`, `{"data":1}`, `{"data":[]}`, `{"data":{"a":1}}`, `{"metadata":1}`, `{"metadata":{"name":"else"}}`,
		`{"metadata":{"labels":{"a b":"c"}}}`, `{"kind":"Secret"}`, `{"apiVersion":"v9"}`, `{"metadata":{"resourceVersion":"1"}}`,
		`{"metadata":{"uid":"else"}}`, `{"metadata":{"resourceVersion":"x"}}`, `{"data":{"bad key":"x"}}`, `{"metadata":{"ownerReferences":[{}]}}`,
		`{"metadata":{"annotations":{"a":"`+strings.Repeat("x", 257<<10)+`"}}}`, `{"metadata":{"finalizers":{}}}`, `{"data":{"a":"b"}`, "{\"data\":\"\x01\"}",
	)
}

func (g *hostileGen) mergePatch() hostile {
	return hostile{kind: "merge patch", method: "PATCH", path: mapsPath + "/there", header: typed("application/merge-patch+json"), body: g.badMerge(), codes: []int{400, 409, 413, 422}}
}

func (g *hostileGen) strategicPatch() hostile {
	h := hostile{kind: "strategic patch", method: "PATCH", header: typed("application/strategic-merge-patch+json"), codes: []int{400, 409, 413, 415, 422}}
	h.path, h.body = mapsPath+"/there", g.badMerge()
	if g.IntN(2) == 0 {
		h.path, h.body = podsPath+"/there", pick(g,
			`{"spec":{"$patch":"bogus"}}`, `{"spec":{"containers":[{"$patch":"delete"}]}}`, `{"spec":{"containers":[{"image":"x"}]}}`, `{"spec":{"containers":"x"}}`,
			`{"spec":{"containers":[1]}}`, `{"spec":{"$setElementOrder/containers":[{"name":"x"}],"containers":[{"name":"y"}]}}`,
			`{"spec":{"$setElementOrder/containers":1}}`, `{"spec":{"$retainKeys":1,"containers":[]}}`,
			`{"spec":{"containers":[{"name":"c","ports":[{"containerPort":"x"}]}]}}`, `{"spec":{"containers":[{"name":"c","$patch":"delete"}]}}`,
			`{"spec":{"containers":[[]]}}`, `{"spec":{"volumes":[{"$retainKeys":["a"],"name":"v"}]}}`, `{"spec":{"containers":[null]}}`, `{"spec":{"nodeName":{}}}`,
			`{"spec":{"containers":[{"name":{}}]}}`, `{"spec":{"restartPolicy":"Sometimes"}}`,
		)
	}
	return h
}

func (g *hostileGen) applyPatch() hostile {
	h := hostile{kind: "apply", method: "PATCH", path: mapsPath + "/there?fieldManager=m", header: typed("application/apply-patch+yaml"), codes: []int{400, 409, 413, 422}}
	good := "apiVersion: v1\nkind: ConfigMap\n"
	switch g.IntN(4) {
	case 0:
		h.path = mapsPath + "/there" + pick(g, "", "?fieldManager=", "?fieldManager="+strings.Repeat("x", 129), "?fieldManager=a%00b", "?fieldManager=m&force=x&dryRun=y", "?fieldManager=%01")
		h.body = good + "metadata: {name: there}\ndata: {a: " + pick(g, "z", "y") + "}\n"
		if strings.Contains(h.path, "%") || strings.Contains(h.path, "xxx") || strings.Contains(h.path, "dryRun") {
			break
		}
	case 1:
		h.body = pick(g, "", "{}", "kind: ConfigMap\n", "apiVersion: v1\n", "apiVersion: v2\nkind: ConfigMap\n", "apiVersion: v1\nkind: Secret\n", "[", "- a", "x")
	case 2:
		h.body = good + pick(g, "metadata: {name: else}\n", "metadata: []\n", "metadata: {managedFields: [{manager: x}]}\n", "metadata: {namespace: other}\n", "data: []\n", "data: {a: 1}\n", "data: {a: [}\n", "metadata: {resourceVersion: '1'}\n", "metadata: {uid: other}\n", "data: {'bad key': x}\n")
	case 3:
		h.path = podsPath + "/there?fieldManager=m"
		h.body = "apiVersion: v1\nkind: Pod\n" + pick(g, "spec: {containers: [{image: x}]}\n", "spec: {containers: [{name: c}, {name: c}]}\n", "spec: {containers: x}\n", "spec: {containers: [{name: c, ports: [{containerPort: x}]}]}\n", "spec: {containers: [x]}\n", "spec: {containers: [{name: d, image: i}]}\n", "spec: {volumes: [{name: a}, {name: a}]}\n")
	}
	return h
}

// where is a path that takes selectors, with the method.
func (g *hostileGen) where() (method, path string) {
	return pick(g, "GET", "GET", "GET", "DELETE"), pick(g, mapsPath, podsPath, databasesPath, deployments)
}

func (g *hostileGen) labelSelector() hostile {
	method, path := g.where()
	s := pick(g,
		"a b", "a in", "a in (", "a in (b", "a in b)", "a notin ()x", "a,,b=,=", "=", "==", "!=", "!", "a>b", "a<x", "a>1.5", "(", ")", "a=b=c", "a in (b,c", "-a=b", "a=-", "a=b c",
		"a/b/c=d", "/a=b", "a/=b", strings.Repeat("x", 64)+"=a", "a="+strings.Repeat("x", 64), "a in ("+strings.Repeat("b,", 5000)+"c", "\x01=b", "ü=b", "a=ü", "a in (ü)", "a\x00", "a!b", "a=(b)",
		"exists x", "a notin b", "!a=b", "!!a", "a===b", ",", "a=b,,c=d", strings.Repeat("(", 5000), strings.Repeat("a=b,", 5000)+"=",
	)
	if sel, err := labels.Parse(s); err == nil && sel != nil {
		s = "a in (" // that one was a selector, after all
	}
	path += "?labelSelector=" + url.QueryEscape(s)
	if method == "GET" && g.IntN(3) == 0 {
		path += "&watch=1"
	}
	return hostile{kind: "label selector", method: method, path: path, codes: []int{400, 422}}
}

func (g *hostileGen) fieldSelector() hostile {
	method, path := g.where()
	s := pick(g,
		"a", "=", "a=b", "spec.nothing=x", "metadata.labels=x", "metadata.name", "metadata.name=a,b", "metadata.name=\\", "metadata.name=a\\x", "metadata.name=a=b", "!metadata.name",
		"metadata.uid=x", ",", "x!y", "metadata.name=a,spec.bogus!=x", strings.Repeat("a=b,", 4000), "metadata.name in (a)", "status=", "\x00=x", "=x", "==", "metadata.name==a,x==",
	)
	if sel, err := fields.ParseSelector(s); err == nil && (sel.Empty() || strings.HasPrefix(s, "metadata.name=")) {
		s = "nothing=x" // that one was a selector, after all
	}
	path += "?fieldSelector=" + url.QueryEscape(s)
	if method == "GET" && g.IntN(3) == 0 {
		path += "&watch=true"
	}
	return hostile{kind: "field selector", method: method, path: path, codes: []int{400, 422}}
}

func (g *hostileGen) token() hostile {
	enc := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	t := pick(g,
		"x", "%%%", enc("x"), enc("{}"), enc(`{"v":"meta.k8s.io/v1"}`), enc(`{"v":"meta.k8s.io/v2","rv":1,"start":"a"}`), enc(`{"v":"meta.k8s.io/v1","rv":"1"}`),
		enc(`{"v":"meta.k8s.io/v1","rv":1,"start":""}`), enc(`{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/x"}`), enc(`{"v":"meta.k8s.io/v1","rv":1,"start":"/../../x"}`),
		enc(`{"v":"meta.k8s.io/v1","rv":0,"start":"default/a"}`), enc(g.noise(40)), g.noise(20),
		base64.StdEncoding.EncodeToString([]byte(g.noise(50))), enc(`{"v":"meta.k8s.io/v1","rv":1,"start":"a\u0000b/../c"}`), strings.Repeat("A", 10_000), enc(strings.Repeat("[", 10_000)),
		enc(`{"v":"meta.k8s.io/v1","rv":99999999999999999999,"start":"a"}`), enc(`[]`), enc(`null`), enc(`"x"`),
	)
	path := pick(g, mapsPath, podsPath, "/api/v1/nodes", databasesPath) + "?limit=1&continue=" + url.QueryEscape(t)
	return hostile{kind: "continue token", method: "GET", path: path, codes: []int{400, 410, 422}}
}

func (g *hostileGen) hostilePath() hostile {
	p := pick(g,
		mapsPath+"/..", mapsPath+"/%2e%2e", mapsPath+"/..%2fsecrets", mapsPath+"/a%2fb", mapsPath+"/a%00b", mapsPath+"/%5c", mapsPath+"/a%5cb", mapsPath+"//there", mapsPath+"/there/", mapsPath+"/there/%2e",
		mapsPath+"/there/status", mapsPath+"/there/bogus", mapsPath+"/there/scale", mapsPath+"/there/a/b/c", "/api/v1/namespaces/../configmaps", "/api/v1/namespaces/%2e%2e/configmaps",
		"/api/v1/namespaces/default%2fx/configmaps", "/api/v1/namespaces//configmaps", "/api/v1//pods", "/api//v1/pods", "/apis/apps//deployments", "/api/v1/bogus", "/api/v9/pods", "/apis/bogus/v1/x",
		"/apis/apps/v9/deployments", "/api/v1/namespaces/default/bogus", "/api/v1/namespaces/default/pods2", "/api/v1/namespaces/default/pod", "/%00", "/api/v1/pods/%ff", "/api/v1/namespaces/de%66ault/configmaps/none",
		mapsPath+"/%252e%252e", "/api/v1/%6eodes/none", mapsPath+"/"+strings.Repeat("x", 300), "/bogus", "/api/v1/watch/bogus", "/api/v1/namespaces/default/configmaps/there/proxy/x", "/apis/v1", "/openapi/v9", "/openapi/v3/../x",
		mapsPath+"/a%0ab", mapsPath+"/%7f", "/api/v1/namespaces/default/secrets/..%2fconfigmaps%2fthere", "/api/v1/nodes/..", "/api/v1/nodes/%2e", "/.git/config", "/etc/passwd", "/api/v1/namespaces/default/pods/there/log/x/y",
		"/debug/pprof/", "/debug/api_priority_and_fairness/bogus", "/logs/../etc/passwd", "/livez/bogus", "/readyz/../x", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/..", mapsPath+"/none",
	)
	h := hostile{kind: "path", method: "GET", path: p, codes: []int{400, 404, 405}}
	if strings.HasPrefix(p, mapsPath+"/") && g.IntN(2) == 0 && p != mapsPath+"/there/" && p != mapsPath+"/there/%2e" {
		h.method = pick(g, "DELETE", "PUT", "PATCH")
		h.header = typed(map[string]string{"PATCH": "application/merge-patch+json"}[h.method])
		if h.method != "PATCH" {
			h.header = typed(jsonType)
		}
		h.body, h.codes = `{}`, []int{400, 404, 405, 415, 422}
		if h.method == "DELETE" && strings.HasPrefix(p, mapsPath+"//") {
			h.method = "PUT"
		}
	}
	if h.path == mapsPath+"/there/" {
		h.path = mapsPath + "/there//"
	}
	return h
}

// scope crosses cluster and namespace.
func (g *hostileGen) scope() hostile {
	method := pick(g, "GET", "PUT", "DELETE", "PATCH", "POST")
	cluster := pick(g, "nodes", "namespaces", "persistentvolumes")
	h := hostile{kind: "scope", method: method, header: typed(jsonType), codes: []int{400, 404, 405}}
	switch g.IntN(3) {
	case 0:
		h.path = "/api/v1/namespaces/default/" + cluster
		if method != "POST" {
			h.path += "/there"
		}
	case 1:
		h.path = "/api/v1/" + pick(g, "configmaps", "pods", "secrets") + "/there"
	case 2:
		h.path = pick(g, "/apis/rbac.authorization.k8s.io/v1/namespaces/default/clusterroles", "/apis/storage.k8s.io/v1/namespaces/default/storageclasses", "/apis/apiextensions.k8s.io/v1/namespaces/default/customresourcedefinitions")
	}
	if method == "PATCH" {
		h.header = typed("application/merge-patch+json")
	}
	if method != "GET" {
		h.body = `{}`
	}
	return h
}

func (g *hostileGen) options() hostile {
	x := pick(g,
		[2]string{"GET", mapsPath + "?resourceVersion=x"}, [2]string{"GET", mapsPath + "?resourceVersion=-1"}, [2]string{"GET", mapsPath + "?limit=x"},
		[2]string{"GET", mapsPath + "?timeoutSeconds=x&watch=1"}, [2]string{"GET", mapsPath + "?resourceVersionMatch=Bogus&resourceVersion=1"}, [2]string{"GET", mapsPath + "?resourceVersionMatch=Exact"},
		[2]string{"GET", mapsPath + "?resourceVersion=0&resourceVersionMatch=Exact"}, [2]string{"GET", mapsPath + "?sendInitialEvents=true"}, [2]string{"GET", mapsPath + "?watch=1&sendInitialEvents=true"},
		[2]string{"GET", mapsPath + "?watch=1&resourceVersionMatch=Exact&resourceVersion=1"}, [2]string{"GET", mapsPath + "?watch=1&resourceVersion=x"}, [2]string{"GET", mapsPath + "/there?resourceVersion=x"},
		[2]string{"GET", mapsPath + "?limit=99999999999999999999"}, [2]string{"GET", mapsPath + "?continue=x&resourceVersion=1"},
		[2]string{"POST", mapsPath + "?dryRun=x"}, [2]string{"POST", mapsPath + "?dryRun=All&dryRun=x"}, [2]string{"POST", mapsPath + "?fieldValidation=x"}, [2]string{"POST", mapsPath + "?fieldManager=" + strings.Repeat("x", 129)},
		[2]string{"POST", mapsPath + "?fieldManager=%01"}, [2]string{"DELETE", mapsPath + "/there?gracePeriodSeconds=x"}, [2]string{"DELETE", mapsPath + "/there?propagationPolicy=x"},
		[2]string{"DELETE", mapsPath + "/there?propagationPolicy=Orphan&orphanDependents=true"}, [2]string{"DELETE", mapsPath + "/there?dryRun=x"}, [2]string{"PUT", mapsPath + "/there?dryRun=x"},
		[2]string{"PUT", mapsPath + "/there?fieldValidation=x"}, [2]string{"GET", mapsPath + "?timeout=x"}, [2]string{"POST", mapsPath + "?timeout=x"}, [2]string{"GET", mapsPath + "/there?timeout=-x"},
		[2]string{"DELETE", mapsPath + "?propagationPolicy=x"}, [2]string{"DELETE", mapsPath + "?labelSelector=a%20b"}, [2]string{"DELETE", mapsPath + "/there?resourceVersion=x&gracePeriodSeconds=y"},
	)
	h := hostile{kind: "options", method: x[0], path: x[1], codes: []int{400, 422}}
	if h.method != "GET" && h.method != "DELETE" {
		h.header, h.body = typed(jsonType), `{"metadata":{"name":"x"}}`
		if h.method == "PUT" {
			h.body = `{"metadata":{"name":"there","finalizers":["example.com/x"]},"data":{"a":"c"}}`
		}
	}
	return h
}

func (g *hostileGen) headers() hostile {
	_, body := g.valid()
	h := hostile{kind: "headers", method: "POST", path: mapsPath, body: body, codes: []int{400, 406, 415, 422, 431}}
	switch g.IntN(6) {
	case 0:
		h.header = typed(pick(g, "text/plain", "application/x-www-form-urlencoded", "application/xml", "multipart/form-data", "application/jsonx", "x", "/", "application/cbor", "application/json-patch+json", strings.Repeat("x", 5000)))
	case 1:
		h.method, h.path, h.body = "GET", pick(g, mapsPath, mapsPath+"/there"), ""
		h.header = [][2]string{{"Accept", pick(g, "text/plain", "application/xml", "image/png", "application/json;as=Bogus;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v9;g=meta.k8s.io", "x", "application/cbor", ";;;", "a/b/c", strings.Repeat("a/b,", 3000))}}
	case 2:
		h.header = append(typed(jsonType), [2]string{"Content-Encoding", pick(g, "gzip", "br", "deflate", "x", "gzip, gzip")})
	case 3:
		h.method, h.path = "PATCH", mapsPath+"/there"
		h.header = typed(pick(g, jsonType, yamlType, "text/plain", "application/patch", "x"))
	case 4:
		h.header = append(typed(jsonType), [2]string{"X-Large", strings.Repeat("x", 300_000)})
		h.old = true // clients of HTTP/2 know the limit and send nothing
	case 5:
		h.header = append(typed(jsonType), [2]string{pick(g, apimachinery.FenceHeader, apimachinery.SeenHeader), pick(g, "x", "a/b", "a/b=c", "-1", "../x=1", "=", strings.Repeat("9", 40))})
		h.codes = []int{400, 409, 422}
		h.path, h.body = mapsPath, `{"metadata":{"name":"x"}}`
	}
	return h
}

func (g *hostileGen) impersonation() hostile {
	h := hostile{kind: "impersonation", method: "GET", path: mapsPath + "/none", codes: []int{400, 401, 403, 404, 422}}
	h.header = pick(g,
		[][2]string{{"Impersonate-Group", "system:masters"}}, [][2]string{{"Impersonate-Uid", "1"}}, [][2]string{{"Impersonate-Extra-x", "y"}},
		[][2]string{{"Impersonate-User", ""}, {"Impersonate-Group", "x"}}, [][2]string{{"Impersonate-User", "system:serviceaccount:x"}}, [][2]string{{"Impersonate-Bogus", "x"}},
		[][2]string{{"Impersonate-User", "x"}, {"Impersonate-Extra-%zz", "y"}}, [][2]string{{"Test-User", "bad"}}, [][2]string{{"Authorization", "Bearer " + g.Text()}},
		[][2]string{{"Impersonate-User", strings.Repeat("x", 20_000)}},
	)
	return h
}

// Text is some text without control characters.
func (g *hostileGen) Text() string {
	return base64.RawURLEncoding.EncodeToString([]byte(g.noise(1 + g.IntN(30))))
}

func (g *hostileGen) method() hostile {
	h := hostile{kind: "method", codes: []int{400, 404, 405}}
	h.method = pick(g, "PROPFIND", "TRACE", "OPTIONS", "BOGUS", "get", "PURGE", "SEARCH", "LINK", "M-SEARCH")
	h.path = pick(g, mapsPath, mapsPath+"/there", "/api/v1/nodes", "/apis/apps/v1/deployments", databasesPath)
	switch g.IntN(4) {
	case 0:
		h.method, h.path = pick(g, "PUT", "PATCH"), pick(g, mapsPath, databasesPath)
	case 1:
		h.method, h.path = "POST", pick(g, mapsPath+"/there", "/api/v1/nodes/there", "/version", "/healthz", "/metrics")
	case 2:
		h.method, h.path = pick(g, "PUT", "DELETE", "PATCH"), pick(g, "/version", "/livez", "/", "/openapi/v2")
	}
	return h
}

func (g *hostileGen) deleteBody() hostile {
	body := pick(g,
		`[`, `{"gracePeriodSeconds":"x"}`, `{"kind":"Pod"}`, `{"propagationPolicy":1}`, `{"propagationPolicy":"x"}`, `{"preconditions":{"uid":"other"}}`, `{"preconditions":{"resourceVersion":"1"}}`,
		`1`, `"x"`, `{"dryRun":["x"]}`, `{"dryRun":"x"}`, `{"orphanDependents":true,"propagationPolicy":"Orphan"}`, "\x00", strings.Repeat("[", 20_000), `{"preconditions":[]}`,
	)
	return hostile{kind: "delete options", method: "DELETE", path: mapsPath + "/there", header: typed(pick(g, jsonType, jsonType, jsonType, yamlType)), body: body, codes: []int{400, 409, 415, 422}}
}

func (g *hostileGen) statusBody() hostile {
	x := pick(g,
		[2]string{"PUT", podsPath + "/there/status"}, [2]string{"PUT", deployments + "/there/scale"}, [2]string{"POST", podsPath + "/there/binding"}, [2]string{"POST", podsPath + "/there/eviction"},
		[2]string{"PUT", deployments + "/there/status"}, [2]string{"POST", "/api/v1/namespaces/default/serviceaccounts/none/token"}, [2]string{"PUT", "/api/v1/namespaces/default/finalize"},
		[2]string{"PUT", podsPath + "/there/ephemeralcontainers"}, [2]string{"PUT", podsPath + "/there/resize"},
		[2]string{"PUT", "/api/v1/namespaces/none/finalize"},
	)
	body := pick(g, `[`, `1`, `{"metadata":{"name":"else"}}`, `{"metadata":1}`, `{"kind":"Bogus"}`, `{"spec":1,"status":1}`, `{"apiVersion":"v9"}`, "\x01", `{"metadata":{"name":"there","uid":"x"}}`, `{"metadata":{"resourceVersion":"x"}}`)
	return hostile{kind: "subresource", method: x[0], path: x[1], header: typed(jsonType), body: body, codes: []int{400, 404, 405, 409, 422}}
}

func (g *hostileGen) huge() hostile {
	body := `{"metadata":{"name":"x"},"data":{"a":"` + strings.Repeat("x", 3<<20) + `"}}`
	h := hostile{kind: "huge", method: "POST", path: mapsPath, header: typed(pick(g, jsonType, yamlType, protoType)), body: body, codes: []int{413}}
	if g.IntN(2) == 0 {
		h.method, h.path = "PATCH", mapsPath+"/there?fieldManager=m"
		h.header = typed(pick(g, "application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml"))
	}
	return h
}

// hostileValues are what mutations put in place of something. They are new each time.
func hostileValues() []any {
	return []any{
		nil, true, "", "x", 0, -1, 1 << 40, 1.5, 1e300, []any{}, map[string]any{}, []any{nil}, map[string]any{"": nil}, "\x00", "../..", "-", strings.Repeat("9", 100),
		[]any{map[string]any{}, map[string]any{}}, "10.0.0.0/8", "1Gi", "-1Gi", "*", "a.b.c", "2006-01-02T15:04:05Z", "%zz", "{{.x}}", "$(x)", []any{"", ""}, -2147483648, "1e999999999", "ü",
		map[string]any{"matchLabels": map[string]any{"": ""}}, map[string]any{"matchExpressions": []any{map[string]any{"operator": "In"}}},
	}
}

// change puts something hostile somewhere into JSON.
func (g *hostileGen) change(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if x := v[k]; g.IntN(len(v)) == 0 {
				switch g.IntN(8) {
				case 0:
					delete(v, k)
				case 1:
					v[pick(g, "", "x", "\x00", "../x", strings.ToUpper(k))] = x
				default:
					v[k] = g.change(x)
				}
				return v
			}
		}
	case []any:
		if len(v) > 0 && g.IntN(3) > 0 {
			i := g.IntN(len(v))
			if g.IntN(4) == 0 {
				return append(v, v[i])
			}
			v[i] = g.change(v[i])
			return v
		}
	}
	return pick(g, hostileValues()...)
}

// mutated is a good manifest with something hostile in it, which may still be good.
func (g *hostileGen) mutated() hostile {
	path, body := g.valid()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		panic(err)
	}
	for range 1 + g.IntN(4) {
		v = g.change(v)
	}
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return hostile{kind: "mutated", method: "POST", path: path + "?dryRun=All", header: typed(pick(g, jsonType, jsonType, yamlType)), body: string(out), dry: true}
}

func (g *hostileGen) mutatedPatch() hostile {
	h := g.mutated()
	h.kind, h.method = "mutated patch", "PATCH"
	h.path = strings.Replace(h.path, "?", "/there?fieldManager=m&force=1&", 1)
	h.header = typed(pick(g, "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"))
	return h
}

// random is an object of any kind with anything in its fields.
func (g *hostileGen) random() hostile {
	var res *apimachinery.Resource
	for res == nil || res.New == nil || len(res.Views) == 0 {
		res = g.all[g.IntN(len(g.all))]
	}
	view := res.Views[g.IntN(len(res.Views))]
	o := res.New()
	if view.New != nil {
		o = view.New()
	}
	g.fill(reflect.ValueOf(o).Elem(), 0)
	o.SetName("x")
	o.SetNamespace("")
	o.SetManagedFields(nil)
	o.SetResourceVersion("")
	o.GetObjectKind().SetGroupVersionKind(view.GroupVersionKind)
	path := "/apis/" + view.Group + "/" + view.Version
	if view.Group == "" {
		path = "/api/" + view.Version
	}
	if res.Namespaced {
		path += "/namespaces/default"
	}
	body, err := json.Marshal(o)
	if err != nil {
		body = []byte(`{`)
	}
	return hostile{kind: "random", method: "POST", path: path + "/" + view.Plural + "?dryRun=All", header: typed(jsonType), body: string(body), dry: true}
}

var hostileTexts = []string{
	"", "x", "a.b", "-", "A", "*", "/", "../x", "10.0.0.1", "::1", "10.0.0.0/8", "1Gi", "80", "http", "TCP", "Always", "x/y", "a=b", "\x00", "ü", "IntOrString", "self.x > 0", "{{x}}", "Node", "v1", "2h",
}

// fill sets some of the fields of a value to anything.
func (g *hostileGen) fill(v reflect.Value, depth int) {
	if depth > 12 || !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if g.IntN(2) == 0 {
			p := reflect.New(v.Type().Elem())
			g.fill(p.Elem(), depth+1)
			v.Set(p)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if g.IntN(3) > 0 {
				g.fill(v.Field(i), depth+1)
			}
		}
	case reflect.Slice:
		n := g.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			g.fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range g.IntN(3) {
			k, x := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			g.fill(k, depth+1)
			g.fill(x, depth+1)
			v.SetMapIndex(k, x)
		}
	case reflect.String:
		v.SetString(pick(g, hostileTexts...))
	case reflect.Bool:
		v.SetBool(g.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(pick(g, 0, 1, -1, 80, 65536, int64(g.Int32()), -int64(g.Int32())))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(g.IntN(256)))
	case reflect.Float64:
		v.SetFloat(g.Float64())
	}
}
