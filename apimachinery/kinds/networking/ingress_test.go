package networking

import (
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery"
)

// read reads an object with its defaults.
func read[T apimachinery.Object](t *testing.T, res apimachinery.Resource, doc string) T {
	t.Helper()
	o := res.New()
	require.NoError(t, yaml.UnmarshalStrict([]byte(doc), o))
	if res.Default != nil {
		res.Default(o)
	}
	return o.(T)
}

func TestJudged(t *testing.T) {
	const backend = "backend: {service: {name: a, port: {number: 1}}}"
	in, class, policy := Ingresses(), IngressClasses(), NetworkPolicies()
	for name, c := range map[string]struct {
		res      apimachinery.Resource
		doc, old string
		want     []string
	}{
		"ingress":         {in, "spec: {rules: [{host: '*.a.b', http: {paths: [{pathType: Prefix, path: /, " + backend + "}]}}]}", "", nil},
		"empty":           {in, "spec: {}", "", []string{"spec Invalid value"}},
		"no paths":        {in, "spec: {rules: [{host: 1.2.3.4, http: {paths: []}}]}", "", []string{"spec.rules[0].host Invalid value", "spec.rules[0].http.paths Required value"}},
		"no type":         {in, "spec: {rules: [{http: {paths: [{path: /}]}}]}", "", []string{"spec.rules[0].http.paths[0].pathType Required value"}},
		"path":            {in, "spec: {rules: [{http: {paths: [{pathType: Exact, path: 'a//b/..', " + backend + "}]}}]}", "", []string{"spec.rules[0].http.paths[0].path Invalid value", "spec.rules[0].http.paths[0].path Invalid value", "spec.rules[0].http.paths[0].path Invalid value"}},
		"own path":        {in, "spec: {rules: [{http: {paths: [{pathType: ImplementationSpecific, path: a, " + backend + "}]}}]}", "", []string{"spec.rules[0].http.paths[0].path Invalid value"}},
		"other type":      {in, "spec: {rules: [{http: {paths: [{pathType: X, " + backend + "}]}}]}", "", []string{"spec.rules[0].http.paths[0].pathType Unsupported value"}},
		"no backend":      {in, "spec: {defaultBackend: {}}", "", []string{"spec.defaultBackend Invalid value"}},
		"both backends":   {in, "spec: {defaultBackend: {service: {name: a}, resource: {kind: A, name: b}}}", "", []string{"spec.defaultBackend Invalid value"}},
		"resource":        {in, "spec: {defaultBackend: {resource: {apiGroup: A, kind: a/b}}}", "", []string{"spec.defaultBackend.resource.apiGroup Invalid value", "spec.defaultBackend.resource.kind Invalid value", "spec.defaultBackend.resource.name Required value"}},
		"no port":         {in, "spec: {defaultBackend: {service: {name: A}}}", "", []string{"spec.defaultBackend.service.name Invalid value", "spec.defaultBackend Required value"}},
		"both ports":      {in, "spec: {defaultBackend: {service: {port: {name: a, number: 1}}}}", "", []string{"spec.defaultBackend.service.name Required value", "spec.defaultBackend Invalid value"}},
		"bad ports":       {in, "spec: {defaultBackend: {service: {name: a, port: {name: a_b}}}}", "", []string{"spec.defaultBackend.service.port.name Invalid value"}},
		"high port":       {in, "spec: {defaultBackend: {service: {name: a, port: {number: 65536}}}}", "", []string{"spec.defaultBackend.service.port.number Invalid value"}},
		"tls":             {in, "spec: {defaultBackend: {service: {name: a, port: {number: 1}}}, ingressClassName: A, tls: [{hosts: ['*', A], secretName: B}]}", "", []string{"spec.tls[0].hosts[0] Invalid value", "spec.tls[0].hosts[1] Invalid value", "spec.tls[0].secretName Invalid value", "spec.ingressClassName Invalid value"}},
		"secret before":   {in, "spec: {defaultBackend: {service: {name: a, port: {number: 1}}}, tls: [{secretName: B}]}", "spec: {tls: [{secretName: C}]}", nil},
		"wildcard before": {in, "spec: {rules: [{host: '*.a.b', http: {paths: []}}]}", "spec: {rules: [{host: '*.a.b', http: {paths: []}}]}", nil},
		"two classes":     {in, "metadata: {annotations: {kubernetes.io/ingress.class: a}}\nspec: {ingressClassName: b, defaultBackend: {service: {name: a, port: {number: 1}}}}", "", []string{"annotations.kubernetes.io/ingress.class Invalid value"}},

		"class":         {class, "spec: {controller: example.com/c, parameters: {kind: A, name: b}}", "", nil},
		"no controller": {class, "spec: {parameters: {scope: X}}", "", []string{"spec.controller Required value", "spec.parameters.kind Required value", "spec.parameters.name Required value", "spec.parameters.scope Unsupported value"}},
		"namespaced":    {class, "spec: {controller: a.b/c, parameters: {kind: A, name: b, scope: Namespace}}", "", []string{"spec.parameters.namespace Required value"}},
		"its namespace": {class, "spec: {controller: a.b/c, parameters: {kind: A, name: b, scope: Namespace, namespace: A}}", "", []string{"spec.parameters.namespace Invalid value"}},
		"cluster":       {class, "spec: {controller: a.b/c, parameters: {kind: A, name: b, namespace: a}}", "", []string{"spec.parameters.namespace Forbidden"}},
		"controller":    {class, "spec: {controller: a.b/d}", "spec: {controller: a.b/c}", []string{"spec.controller Invalid value"}},

		"policy":     {policy, "spec: {podSelector: {}, ingress: [{from: [{podSelector: {}, namespaceSelector: {}}], ports: [{port: 1, endPort: 2}]}]}", "", nil},
		"ports":      {policy, "spec: {podSelector: {}, ingress: [{ports: [{protocol: X, port: 5, endPort: 4}, {port: a--b, endPort: 1}, {endPort: 1}]}]}", "", []string{"spec.ingress[0].ports[0].protocol Unsupported value", "spec.ingress[0].ports[0].endPort Invalid value", "spec.ingress[0].ports[1].endPort Invalid value", "spec.ingress[0].ports[1].port Invalid value", "spec.ingress[0].ports[2].endPort Invalid value"}},
		"peers":      {policy, "spec: {podSelector: {}, egress: [{to: [{}, {podSelector: {}, ipBlock: {}}]}]}", "", []string{"spec.egress[0].to[0] Required value", "spec.egress[0].to[1].ipBlock.cidr Required value", "spec.egress[0].to[1] Forbidden"}},
		"blocks":     {policy, "spec: {podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8, 11.0.0.0/9, x, 10.1.0.1/16]}}]}]}", "", []string{"spec.egress[0].to[0].ipBlock.except[0] Invalid value", "spec.egress[0].to[0].ipBlock.except[1] Invalid value", "spec.egress[0].to[0].ipBlock.except[2] Invalid value", "spec.egress[0].to[0].ipBlock.except[3] Invalid value"}},
		"old blocks": {policy, "spec: {podSelector: {}, egress: [{to: [{ipBlock: {cidr: 010.0.0.0/8}}]}]}", "spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 010.0.0.0/8}}]}]}", nil},
		"types":      {policy, "spec: {podSelector: {matchLabels: {a: '-'}}, policyTypes: [X]}", "", []string{"spec.podSelector.matchLabels Invalid value", "spec.policyTypes[0] Unsupported value"}},
		"many types": {policy, "spec: {podSelector: {}, policyTypes: [Ingress, Egress, Egress]}", "", []string{"spec.policyTypes Invalid value"}},
	} {
		t.Run(name, func(t *testing.T) {
			var old apimachinery.Object
			if c.old != "" {
				old = read[apimachinery.Object](t, c.res, c.old)
			}
			require.Equal(t, c.want, text(c.res.Validate(t.Context(), read[apimachinery.Object](t, c.res, c.doc), old)))
		})
	}
}

func TestIngressStatus(t *testing.T) {
	res := Ingresses()
	old := read[*networkingv1.Ingress](t, res, "spec: {rules: [{host: a}]}\nstatus: {loadBalancer: {ingress: [{ip: 010.0.0.1}]}}")
	n := read[*networkingv1.Ingress](t, res, "spec: {rules: [{host: b}]}\nstatus: {loadBalancer: {ingress: [{ip: 010.0.0.1}, {ip: 01.2.3.4, hostname: 1.2.3.4}, {hostname: A}, {ip: 'FD00::1'}]}}")
	s := res.Subs["status"].Strategy
	s.Prepare(t.Context(), n, old)
	require.Equal(t, old.Spec, n.Spec)
	require.Equal(t, []string{"status.loadBalancer.ingress[1].ip Invalid value", "status.loadBalancer.ingress[1].hostname Invalid value", "status.loadBalancer.ingress[2].hostname Invalid value"}, text(s.Validate(t.Context(), n, old)))
	require.Len(t, res.Warnings(n, old), 3)
	require.Empty(t, res.Warnings(old, old))

	n.Spec.Rules = nil
	res.Prepare(t.Context(), n, old)
	require.Equal(t, old.Status, n.Status)
	require.EqualValues(t, 1, n.Generation)
	res.Prepare(t.Context(), n, nil)
	require.Empty(t, n.Status)
	n.Annotations = map[string]string{classAnnotation: "x"}
	require.Len(t, res.Warnings(n, nil), 1)
}

func TestIngressColumns(t *testing.T) {
	rules := func(names ...string) (out []networkingv1.IngressRule) {
		for _, n := range names {
			out = append(out, networkingv1.IngressRule{Host: n})
		}
		return out
	}
	require.Equal(t, "*", hosts(rules("")))
	require.Equal(t, "a,b,c", hosts(rules("a", "b", "c")))
	require.Equal(t, "a,b,c + 2 more...", hosts(rules("a", "b", "c", "d", "e")))
	require.Equal(t, "1.2.3.4,lb", addresses([]networkingv1.IngressLoadBalancerIngress{{Hostname: "lb"}, {IP: "1.2.3.4", Hostname: "x"}, {Hostname: "lb"}}))
}

func TestPolicyDefaultsAndWarnings(t *testing.T) {
	res := NetworkPolicies()
	p := read[*networkingv1.NetworkPolicy](t, res, "spec: {podSelector: {}, ingress: [{ports: [{port: 1}], from: [{ipBlock: {cidr: '10.1.2.3/8', except: ['FD00::/64', x]}}]}], egress: [{}]}")
	require.Equal(t, []networkingv1.PolicyType{"Ingress", "Egress"}, p.Spec.PolicyTypes)
	require.EqualValues(t, "TCP", *p.Spec.Ingress[0].Ports[0].Protocol)
	require.Len(t, res.Warnings(p, nil), 2)
	res.Prepare(t.Context(), p, nil)
	n := p.DeepCopy()
	n.Spec.Egress = nil
	res.Prepare(t.Context(), n, p)
	require.EqualValues(t, 2, n.Generation)
}
