package discovery

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// allVerbs are those of a resource that doesn't narrow them, in the order of discovery.
var allVerbs = []string{
	apimachinery.VerbCreate, apimachinery.VerbDelete, apimachinery.VerbDeleteCollection, apimachinery.VerbGet,
	apimachinery.VerbList, apimachinery.VerbPatch, apimachinery.VerbUpdate, apimachinery.VerbWatch,
}

// entry is a resource under one of its views.
type entry struct {
	*apimachinery.Resource
	view *apimachinery.View
}

// group is an API group: its versions by falling priority, and what each serves.
type group struct {
	name     string
	versions []string
	entries  map[string][]entry
	foreign  map[string]*Extension // versions that other servers have
	priority int
}

// groupsOf sorts a registry's resources, and extensions, into groups, in Kubernetes' order of priority. The core group is first.
func groupsOf(reg *apimachinery.Registry, extensions []Extension) []*group {
	byName := map[string]*group{}
	for _, r := range reg.All() {
		for i := range r.Views {
			v := &r.Views[i]
			if v.Unserved {
				continue
			}
			g := byName[v.Group]
			if g == nil {
				g = &group{name: v.Group, entries: map[string][]entry{}, priority: priority(v.Group)}
				byName[v.Group] = g
			}
			if _, known := g.entries[v.Version]; !known {
				g.versions = append(g.versions, v.Version)
			}
			g.entries[v.Version] = append(g.entries[v.Version], entry{r, v})
		}
	}
	extend(byName, extensions)
	all := make([]*group, 0, len(byName))
	for _, g := range byName {
		g.sort()
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.name, b.name))
	})
	return all
}

func (g *group) sort() {
	slices.SortFunc(g.versions, g.before)
	for _, entries := range g.entries {
		slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.view.Plural, b.view.Plural) })
	}
}

// customPriority is the priority of groups that Kubernetes doesn't have.
const customPriority = 1000

// priority is that of a group among others: the highest is first. Those of Kubernetes' groups are its own.
func priority(group string) int {
	switch group {
	case "":
		return 18000
	case "apiregistration.k8s.io":
		return 17900
	case "apps":
		return 17800
	case "events.k8s.io":
		return 17750
	case "authentication.k8s.io":
		return 17700
	case "authorization.k8s.io":
		return 17600
	case "autoscaling":
		return 17500
	case "batch":
		return 17400
	case "certificates.k8s.io":
		return 17300
	case "networking.k8s.io":
		return 17200
	case "policy":
		return 17100
	case "rbac.authorization.k8s.io":
		return 17000
	case "storage.k8s.io":
		return 16800
	case "admissionregistration.k8s.io", "apiextensions.k8s.io":
		return 16700
	case "scheduling.k8s.io":
		return 16600
	case "coordination.k8s.io":
		return 16500
	case "node.k8s.io":
		return 16300
	case "discovery.k8s.io", "resource.k8s.io":
		return 16200
	case "flowcontrol.apiserver.k8s.io":
		return 16100
	case "internal.apiserver.k8s.io":
		return 16000
	case "storagemigration.k8s.io":
		return 15800
	}
	return customPriority
}

// Groups is the document of /apis: every group but the core.
func Groups(reg *apimachinery.Registry, extensions ...Extension) *metav1.APIGroupList {
	list := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{}}
	for _, g := range groupsOf(reg, extensions) {
		if g.name != "" {
			list.Groups = append(list.Groups, g.document())
		}
	}
	return list
}

func (g *group) document() metav1.APIGroup {
	d := metav1.APIGroup{Name: g.name}
	for _, v := range g.versions {
		gv := schema.GroupVersion{Group: g.name, Version: v}
		d.Versions = append(d.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: v})
	}
	d.PreferredVersion = d.Versions[0]
	return d
}

// Resources is the document of /api/v1 or /apis/<group>/<version>; ok is false if nothing is served there.
func Resources(reg *apimachinery.Registry, gv schema.GroupVersion, extensions ...Extension) (list *metav1.APIResourceList, ok bool) {
	for _, g := range groupsOf(reg, extensions) {
		if g.name == gv.Group && g.entries[gv.Version] != nil {
			return resources(gv, g.entries[gv.Version]), true
		}
		if x := g.foreign[gv.Version]; g.name == gv.Group && x != nil && x.Resources != nil {
			return x.resources(), true
		}
	}
	return nil, false
}

func resources(gv schema.GroupVersion, entries []entry) *metav1.APIResourceList {
	list := &metav1.APIResourceList{
		TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String(),
		APIResources: []metav1.APIResource{},
	}
	for _, e := range entries {
		list.APIResources = append(list.APIResources, e.document())
		for _, name := range e.subs() {
			s := e.subresources()[name]
			d := metav1.APIResource{Name: e.view.Plural + "/" + name, Namespaced: e.Namespaced, Kind: e.view.Kind, Verbs: sorted(s.Verbs)}
			if s.Kind.Kind != "" {
				d.Kind = s.Kind.Kind
				if s.Kind.GroupVersion() != gv && s.Kind.Version != "" {
					d.Group, d.Version = s.Kind.Group, s.Kind.Version
				}
			}
			list.APIResources = append(list.APIResources, d)
		}
	}
	slices.SortFunc(list.APIResources, func(a, b metav1.APIResource) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (e entry) document() metav1.APIResource {
	d := metav1.APIResource{
		Name: e.view.Plural, SingularName: e.view.Singular, Namespaced: e.Namespaced, Kind: e.view.Kind,
		Verbs: e.verbs(), ShortNames: e.view.Short, Categories: e.view.Category,
	}
	if e.Virtual == nil && e.Listed == nil {
		d.StorageVersionHash = storageHash(e.Views[0].GroupVersionKind)
	}
	return d
}

func (e entry) subresources() map[string]apimachinery.Subresource {
	return apimachinery.Found{Resource: e.Resource, View: e.view}.Subs()
}

func (e entry) subs() []string {
	names := make([]string, 0, len(e.subresources()))
	for name := range e.subresources() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (e entry) verbs() []string {
	switch {
	case e.Virtual != nil:
		return []string{apimachinery.VerbCreate}
	case e.Verbs != nil:
		return sorted(e.Verbs)
	}
	return slices.Clone(allVerbs)
}

// sorted returns a sorted copy, never nil: clients tell a missing list from an empty one.
func sorted(verbs []string) []string {
	out := append([]string{}, verbs...)
	slices.Sort(out)
	return out
}

// storageHash tells clients that caches by it whether the stored version has changed.
func storageHash(gvk schema.GroupVersionKind) string {
	sum := sha256.Sum256([]byte(gvk.Group + "/" + gvk.Version + "/" + gvk.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}
