package apimachinery

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Registry is a set of resources. The zero value is empty and ready to use. It is safe for concurrent use:
// resources may be added and removed while a server serves them.
type Registry struct {
	mu        sync.RWMutex
	resources map[schema.GroupResource]*Resource
	byView    map[schema.GroupVersionResource]Found
	byKind    map[schema.GroupVersionKind]Found
	byType    map[reflect.Type]Found
	changed   chan struct{}
	version   uint64
}

// Found is a resource and one of its views.
type Found struct {
	Resource *Resource
	View     *View
}

// Hub says whether the view is the hub type itself.
func (f Found) Hub() bool { return f.View.New == nil }

// Subs are the subresources of the view.
func (f Found) Subs() map[string]Subresource {
	if f.View.Subs != nil {
		return f.View.Subs
	}
	return f.Resource.Subs
}

// Preferred is the first view that is served; the storage version where none is.
func (res *Resource) Preferred() *View {
	for i := range res.Views {
		if !res.Views[i].Unserved {
			return &res.Views[i]
		}
	}
	return &res.Views[0]
}

// New makes an empty object of the view's Go type.
func (f Found) New() Object {
	if f.View.New != nil {
		return f.View.New()
	}
	return f.Resource.New()
}

// NewRegistry returns a registry of the given resources, or says which of them won't do.
func NewRegistry(resources ...Resource) (*Registry, error) {
	r := &Registry{}
	return r, r.Add(resources...)
}

// Add adds resources, all or none. It refuses a resource without a view, a plural or kind that is taken, a Go
// type that another resource has (two kinds with equal Spec and Status are one Go type: give one of them a
// named Spec), and a Go type whose deep copy is of another type (a struct that embeds Typed: use an alias).
func (r *Registry) Add(resources ...Resource) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	added := make([]*Resource, 0, len(resources))
	var err error
	for i := range resources {
		res := resources[i]
		if err = r.add(&res); err != nil {
			err = fmt.Errorf("register %s: %w", res.Name, err)
			break
		}
		added = append(added, &res)
	}
	if err != nil {
		for _, res := range added {
			r.remove(res)
		}
		return err
	}
	r.bump()
	return nil
}

// Replace is [Registry.Add] of one resource in the place of the one of the same name, where there is one: nobody sees
// it missing in between. If the new one won't do, the old one stays.
func (r *Registry) Replace(res Resource) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, replaces := r.resources[res.Name]
	if replaces {
		r.remove(old)
	}
	if err := r.add(&res); err != nil {
		if replaces {
			err = errors.Join(err, r.add(old))
		}
		return fmt.Errorf("register %s: %w", res.Name, err)
	}
	r.bump()
	return nil
}

// Remove takes a resource out; unknown names are ignored.
func (r *Registry) Remove(name schema.GroupResource) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if res, ok := r.resources[name]; ok {
		r.remove(res)
		r.bump()
	}
}

func (r *Registry) add(res *Resource) error {
	if err := res.check(); err != nil {
		return err
	}
	r.init()
	if _, taken := r.resources[res.Name]; taken {
		return errors.New("the name is taken")
	}
	hub := reflect.TypeOf(res.New())
	if f, taken := r.byType[hub]; taken && !carriesKind(res.New()) {
		return fmt.Errorf("%v is the Go type of %s already: one type can't be two resources; declare a Spec type of its own", hub, f.Resource.Name)
	}
	res.Views = slices.Clone(res.Views)
	for i := range res.Views {
		v := &res.Views[i]
		if v.Unserved {
			continue
		}
		if f, taken := r.byView[v.Resource()]; taken {
			return fmt.Errorf("%v is served by %s already", v.Resource(), f.Resource.Name)
		}
		if f, taken := r.byKind[v.GroupVersionKind]; taken {
			return fmt.Errorf("%v is served by %s already", v.GroupVersionKind, f.Resource.Name)
		}
	}
	r.resources[res.Name] = res
	for i := range res.Views {
		v := &res.Views[i]
		if v.Singular == "" {
			v.Singular = strings.ToLower(v.Kind)
		}
		if v.ListKind == "" {
			v.ListKind = v.Kind + "List"
		}
		if v.Unserved {
			continue
		}
		f := Found{res, v}
		r.byView[v.Resource()], r.byKind[v.GroupVersionKind] = f, f
		if o := f.New(); r.byType[reflect.TypeOf(o)].Resource == nil && !carriesKind(o) {
			r.byType[reflect.TypeOf(o)] = f
		}
	}
	return nil
}

// carriesKind says whether objects of o's Go type may be of any kind, and so tell nothing of their resource.
func carriesKind(o Object) bool {
	_, any := o.(runtime.Unstructured)
	return any
}

func (r *Registry) remove(res *Resource) {
	delete(r.resources, res.Name)
	for i := range res.Views {
		v := &res.Views[i]
		if v.Unserved {
			continue
		}
		delete(r.byView, v.Resource())
		delete(r.byKind, v.GroupVersionKind)
		if o := (Found{res, v}).New(); !carriesKind(o) {
			delete(r.byType, reflect.TypeOf(o))
		}
	}
}

func (r *Registry) init() {
	if r.resources == nil {
		r.resources = map[schema.GroupResource]*Resource{}
		r.byView = map[schema.GroupVersionResource]Found{}
		r.byKind = map[schema.GroupVersionKind]Found{}
		r.byType = map[reflect.Type]Found{}
	}
}

func (r *Registry) bump() {
	r.version++
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// Version counts changes, and the channel is closed at the next one: discovery and schemas are cached by it.
func (r *Registry) Version() (uint64, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.version, r.changed
}

// All returns the resources, sorted by group and name.
func (r *Registry) All() []*Resource {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]*Resource, 0, len(r.resources))
	for _, res := range r.resources {
		all = append(all, res)
	}
	slices.SortFunc(all, func(a, b *Resource) int {
		return strings.Compare(a.Name.Group+"/"+a.Name.Resource, b.Name.Group+"/"+b.Name.Resource)
	})
	return all
}

// Resource finds a resource by its storage name.
func (r *Registry) Resource(name schema.GroupResource) (*Resource, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	res, ok := r.resources[name]
	return res, ok
}

// ForResource finds the view that is served as gvr.
func (r *Registry) ForResource(gvr schema.GroupVersionResource) (Found, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	f, ok := r.byView[gvr]
	return f, ok
}

// Served says whether anything is served as gvr.
func (r *Registry) Served(gvr schema.GroupVersionResource) bool {
	_, ok := r.ForResource(gvr)
	return ok
}

// ForKind finds the view of a kind.
func (r *Registry) ForKind(gvk schema.GroupVersionKind) (Found, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	f, ok := r.byKind[gvk]
	return f, ok
}

// ForType finds the view of o's Go type; for a hub type with several views, the storage version.
func (r *Registry) ForType(o Object) (Found, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	f, ok := r.byType[reflect.TypeOf(o)]
	return f, ok
}

func (res *Resource) check() error {
	switch {
	case res.Fault != nil:
		return res.Fault
	case res.Name.Resource == "":
		return errors.New("it has no name: set Name to its plural and group")
	case res.New == nil:
		return errors.New("it has no New: give a function that makes an empty object")
	case len(res.Views) == 0:
		return errors.New("it has no view: give at least one version")
	}
	for i := range res.Views {
		if err := res.checkView(&res.Views[i]); err != nil {
			return err
		}
	}
	return nil
}

func (res *Resource) checkView(v *View) error {
	if v.Version == "" || v.Kind == "" || v.Plural == "" {
		return fmt.Errorf("view %v: version, kind and plural must be set", v.GroupVersionKind)
	}
	if (v.New == nil) != (v.FromHub == nil) || (v.New == nil) != (v.ToHub == nil) {
		return fmt.Errorf("view %v: New, FromHub and ToHub go together", v.GroupVersionKind)
	}
	o := Found{res, v}.New()
	if carriesKind(o) != (v.Schema != nil) {
		return fmt.Errorf("view %v: Schema must be set for *unstructured.Unstructured, and for nothing else", v.GroupVersionKind)
	}
	t := reflect.TypeOf(o)
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("view %v: New must return a pointer to a struct, not %v", v.GroupVersionKind, t)
	}
	if c := reflect.TypeOf(o.DeepCopyObject()); c != t {
		return fmt.Errorf("view %v: a deep copy of %v is a %v: don't embed an Object in a struct, declare an alias (type Database = apimachinery.Typed[DatabaseSpec, DatabaseStatus])", v.GroupVersionKind, t, c)
	}
	return nil
}
