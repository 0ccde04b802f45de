package discovery

import (
	"cmp"
	"slices"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// Source knows of groups and versions that other servers have. It is asked at every request, must not block, and may be
// asked concurrently.
type Source interface {
	// Extensions are the groups and versions as they were last known. The generation is another one whenever they
	// are others, or in another state. What is returned must not be changed.
	Extensions() (list []Extension, generation uint64)
}

// Extension is a group and version that another server has.
type Extension struct {
	schema.GroupVersion
	// GroupPriority and VersionPriority put groups, and versions of a group, in order, the highest first, as an
	// APIService's do. Kinds of the server itself have priorities from 15,800 to 18,000, custom resources 1,000.
	GroupPriority, VersionPriority int
	// Resources are what the other server said when it was last asked; nil: it never answered.
	Resources []apidiscovery.APIResourceDiscovery
	// Err says why the other server can't be asked now; nil: it can. Its group and version are Stale then, and
	// disturb no other.
	Err error
}

func (x *Extension) freshness() apidiscovery.DiscoveryFreshness {
	if x.Err != nil {
		return apidiscovery.DiscoveryFreshnessStale
	}
	return apidiscovery.DiscoveryFreshnessCurrent
}

func (x *Extension) aggregated() apidiscovery.APIVersionDiscovery {
	return apidiscovery.APIVersionDiscovery{Version: x.Version, Resources: x.Resources, Freshness: x.freshness()}
}

// resources is the older form of what the other server has.
func (x *Extension) resources() *metav1.APIResourceList {
	list := &metav1.APIResourceList{
		TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: x.GroupVersion.String(),
		APIResources: []metav1.APIResource{},
	}
	for i := range x.Resources {
		r := &x.Resources[i]
		d := metav1.APIResource{
			Name: r.Resource, SingularName: r.SingularResource, Namespaced: r.Scope == apidiscovery.ScopeNamespace,
			Verbs: sorted(r.Verbs), ShortNames: r.ShortNames, Categories: r.Categories,
		}
		d.Group, d.Version, d.Kind = x.kind(r.ResponseKind)
		list.APIResources = append(list.APIResources, d)
		for _, s := range r.Subresources {
			sub := metav1.APIResource{Name: r.Resource + "/" + s.Subresource, Namespaced: d.Namespaced, Verbs: sorted(s.Verbs)}
			sub.Group, sub.Version, sub.Kind = x.kind(s.ResponseKind)
			list.APIResources = append(list.APIResources, sub)
		}
	}
	slices.SortFunc(list.APIResources, func(a, b metav1.APIResource) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// kind is a kind as the older form has it: without group and version where they are those of the list.
func (x *Extension) kind(k *metav1.GroupVersionKind) (group, version, kind string) {
	switch {
	case k == nil:
		return "", "", ""
	case k.Group == x.Group && k.Version == x.Version:
		return "", "", k.Kind
	}
	return k.Group, k.Version, k.Kind
}

// extend adds extensions to the groups of the server itself, which go first where both have a version.
func extend(byName map[string]*group, extensions []Extension) {
	for i := range extensions {
		x := &extensions[i]
		g := byName[x.Group]
		if g == nil {
			g = &group{name: x.Group, entries: map[string][]entry{}}
			byName[x.Group] = g
		}
		if _, own := g.entries[x.Version]; own {
			continue
		}
		if g.foreign == nil {
			g.foreign = map[string]*Extension{}
		}
		if g.foreign[x.Version] == nil {
			g.versions = append(g.versions, x.Version)
		}
		g.foreign[x.Version] = x
		g.priority = max(g.priority, x.GroupPriority)
	}
}

// ownVersions is the priority of versions of the server itself.
const ownVersions = 15

// before says which of two versions of a group comes first.
func (g *group) before(a, b string) int {
	return cmp.Or(cmp.Compare(g.versionPriority(b), g.versionPriority(a)), version.CompareKubeAwareVersionStrings(b, a))
}

func (g *group) versionPriority(v string) int {
	if x := g.foreign[v]; x != nil {
		return x.VersionPriority
	}
	if g.priority == customPriority {
		return 100
	}
	return ownVersions
}
