package discovery

import (
	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// Aggregated is the one document that holds all of discovery: of the core group for /api, of all others for /apis.
func Aggregated(reg *apimachinery.Registry, core bool, extensions ...Extension) *apidiscovery.APIGroupDiscoveryList {
	list := &apidiscovery.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: apidiscovery.SchemeGroupVersion.String()},
		Items:    []apidiscovery.APIGroupDiscovery{},
	}
	for _, g := range groupsOf(reg, extensions) {
		if (g.name == "") == core {
			list.Items = append(list.Items, g.aggregated())
		}
	}
	return list
}

func (g *group) aggregated() apidiscovery.APIGroupDiscovery {
	d := apidiscovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
	for _, v := range g.versions {
		if x := g.foreign[v]; x != nil {
			d.Versions = append(d.Versions, x.aggregated())
			continue
		}
		dv := apidiscovery.APIVersionDiscovery{Version: v, Freshness: apidiscovery.DiscoveryFreshnessCurrent}
		for _, e := range g.entries[v] {
			dv.Resources = append(dv.Resources, e.aggregated(schema.GroupVersion{Group: g.name, Version: v}))
		}
		d.Versions = append(d.Versions, dv)
	}
	return d
}

func (e entry) aggregated(gv schema.GroupVersion) apidiscovery.APIResourceDiscovery {
	d := apidiscovery.APIResourceDiscovery{
		Resource: e.view.Plural, ResponseKind: e.kind(gv, gv.WithKind(e.view.Kind)), Scope: apidiscovery.ScopeCluster,
		SingularResource: e.view.Singular, Verbs: e.verbs(), ShortNames: e.view.Short, Categories: e.view.Category,
	}
	if e.Namespaced {
		d.Scope = apidiscovery.ScopeNamespace
	}
	for _, name := range e.subs() {
		s := e.subresources()[name]
		k := s.Kind
		if k.Kind == "" {
			k = gv.WithKind(e.view.Kind)
		}
		d.Subresources = append(d.Subresources, apidiscovery.APISubresourceDiscovery{
			Subresource: name, ResponseKind: e.kind(gv, k), Verbs: sorted(s.Verbs),
		})
	}
	return d
}

// kind names a kind. As in Kubernetes, one of the same group and version has neither where it is a Go type.
func (e entry) kind(gv schema.GroupVersion, k schema.GroupVersionKind) *metav1.GroupVersionKind {
	if k.GroupVersion() == gv && e.view.Schema == nil {
		return &metav1.GroupVersionKind{Kind: k.Kind}
	}
	return &metav1.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}
}
