package hook

import (
	"context"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// Cluster is what hooks know of the cluster beside the request.
type Cluster struct {
	// Registry has the versions of a resource.
	Registry *apimachinery.Registry
	// Namespace reads a namespace; an apierrors NotFound if there is none. What it returns is only read.
	Namespace func(ctx context.Context, name string) (*corev1.Namespace, error)
}

// Target is a resource, and the kind that travels there.
type Target struct {
	Resource schema.GroupVersionResource
	Kind     schema.GroupVersionKind
}

// Request is an admission as hooks see it. It is for one goroutine.
type Request struct {
	*apimachinery.Admission
	// Own is the resource and kind that the client named.
	Own Target
	// Namespace is that of the request; of a Namespace, its own name.
	Namespace string

	cluster Cluster
	seen    map[Target]pair
	others  *[]Target
	ns      *corev1.Namespace
	nsErr   error
	read    bool
}

// Of returns an admission as hooks see it.
func Of(a *apimachinery.Admission, c Cluster) *Request {
	r := &Request{Admission: a, Own: Target{a.Resource, a.Kind}, Namespace: a.Namespace, cluster: c}
	if r.aboutNamespaces() && r.Namespace == "" {
		r.Namespace = a.Name
	}
	return r
}

func (r *Request) namespace(ctx context.Context) (*corev1.Namespace, error) {
	if !r.read {
		r.ns, r.nsErr = r.cluster.Namespace(ctx, r.Namespace)
		r.read = true
	}
	return r.ns, r.nsErr
}

// InNamespace reads the namespace of the request's object; nil if it is in none.
func (r *Request) InNamespace(ctx context.Context) (*corev1.Namespace, error) {
	if r.Namespace == "" || r.aboutNamespaces() {
		return nil, nil
	}
	return r.namespace(ctx)
}

// ownKind says whether what travels is of a subresource's own kind, which no version of the resource changes.
func (r *Request) ownKind() bool {
	f, ok := r.cluster.Registry.ForResource(r.Own.Resource)
	return !ok || r.Sub != "" && f.Subs()[r.Sub].Kind.Kind != ""
}

// equivalents are the other versions of the request's resource.
func (r *Request) equivalents() []Target {
	if r.others != nil {
		return *r.others
	}
	var all []Target
	if f, ok := r.cluster.Registry.ForResource(r.Own.Resource); ok {
		own := r.ownKind()
		for i := range f.Resource.Views {
			v := &f.Resource.Views[i]
			if v == f.View || v.Unserved {
				continue
			}
			t := Target{v.Resource(), v.GroupVersionKind}
			if own {
				t.Kind = r.Own.Kind
			}
			all = append(all, t)
		}
	}
	r.others = &all
	return all
}

// pair is the objects of a request, in one version.
type pair struct{ object, old apimachinery.Object }

// As returns the request's objects as a target has them. They say their kind, are shared, and are only read. Either
// may be nil.
func (r *Request) As(t Target) (object, old apimachinery.Object, err error) {
	if p, ok := r.seen[t]; ok {
		return p.object, p.old, nil
	}
	if object, err = r.as(t, r.Object); err == nil {
		old, err = r.as(t, r.Old)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("convert to %v: %w", t.Kind, err)
	}
	if r.seen == nil {
		r.seen = map[Target]pair{}
	}
	r.seen[t] = pair{object, old}
	return object, old, nil
}

// Seen is [Request.As] for expressions: what a CONNECT asks for stands for the object, and nothing is nil.
func (r *Request) Seen(t Target) (object, old any, err error) {
	o, before, err := r.As(t)
	if o != nil {
		object = o
	} else if c := r.Connection(); c != nil {
		object = c
	}
	if before != nil {
		old = before
	}
	return object, old, err
}

func (r *Request) as(t Target, o apimachinery.Object) (apimachinery.Object, error) {
	if o == nil {
		return nil, nil
	}
	out := o.DeepCopyObject().(apimachinery.Object)
	if !r.ownKind() {
		f, ok := r.cluster.Registry.ForResource(t.Resource)
		if !ok {
			return nil, fmt.Errorf("%v is not served any more", t.Resource)
		}
		if f.View.FromHub != nil {
			var err error
			if out, err = f.View.FromHub(out); err != nil {
				return nil, err
			}
		}
	}
	out.GetObjectKind().SetGroupVersionKind(t.Kind)
	return out, nil
}

// New makes an empty object of the kind that travels at a target.
func (r *Request) New(t Target) (apimachinery.Object, error) {
	f, ok := r.cluster.Registry.ForResource(t.Resource)
	if !ok {
		return nil, fmt.Errorf("%v is not served any more", t.Resource)
	}
	if sub := f.Subs()[r.Sub]; r.Sub != "" && sub.New != nil {
		return sub.New(), nil
	}
	return f.New(), nil
}

// Take makes an object, as a target has it, that of the request.
func (r *Request) Take(t Target, o apimachinery.Object) error {
	was := r.Object.GetObjectKind().GroupVersionKind()
	if !r.ownKind() {
		var err error
		if o, err = r.toHub(t, o); err != nil {
			return fmt.Errorf("convert from %v: %w", t.Kind, err)
		}
	}
	o.GetObjectKind().SetGroupVersionKind(was)
	r.Object = o
	clear(r.seen)
	return nil
}

func (r *Request) toHub(t Target, o apimachinery.Object) (apimachinery.Object, error) {
	f, ok := r.cluster.Registry.ForResource(t.Resource)
	if !ok {
		return nil, fmt.Errorf("%v is not served any more", t.Resource)
	}
	if _, carries := o.(runtime.Unstructured); carries { // such an object is a hub in the version of the request
		if f, ok = r.cluster.Registry.ForResource(r.Own.Resource); !ok {
			return nil, fmt.Errorf("%v is not served any more", r.Own.Resource)
		}
		return f.View.FromHub(o)
	}
	if f.View.ToHub == nil {
		return o, nil
	}
	return f.View.ToHub(o)
}

// OperationOptions are the options of the operation that is done, which may be another one than the client asked for.
func (r *Request) OperationOptions() runtime.Object {
	switch r.Operation {
	case "CREATE":
		out := &metav1.CreateOptions{TypeMeta: optionsMeta("CreateOptions")}
		switch o := r.Options.(type) {
		case *metav1.CreateOptions:
			if o != nil {
				out.DryRun, out.FieldManager, out.FieldValidation = o.DryRun, o.FieldManager, o.FieldValidation
			}
		case *metav1.UpdateOptions:
			if o != nil {
				out.DryRun, out.FieldManager, out.FieldValidation = o.DryRun, o.FieldManager, o.FieldValidation
			}
		case *metav1.PatchOptions:
			if o != nil {
				out.DryRun, out.FieldManager, out.FieldValidation = o.DryRun, o.FieldManager, o.FieldValidation
			}
		}
		return out
	case "UPDATE":
		out := &metav1.UpdateOptions{TypeMeta: optionsMeta("UpdateOptions")}
		switch o := r.Options.(type) {
		case *metav1.UpdateOptions:
			if o != nil {
				out.DryRun, out.FieldManager, out.FieldValidation = o.DryRun, o.FieldManager, o.FieldValidation
			}
		case *metav1.PatchOptions:
			if o != nil {
				out.DryRun, out.FieldManager, out.FieldValidation = o.DryRun, o.FieldManager, o.FieldValidation
			}
		}
		return out
	case "DELETE":
		out := &metav1.DeleteOptions{}
		if o, ok := r.Options.(*metav1.DeleteOptions); ok && o != nil {
			out = o.DeepCopy()
		}
		out.TypeMeta = optionsMeta("DeleteOptions")
		return out
	}
	return nil
}

func optionsMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: kind, APIVersion: "meta.k8s.io/v1"}
}

// Connection is what a CONNECT asks for, which stands where other operations have the object; nil for others.
func (r *Request) Connection() runtime.Object {
	if r.Operation != "CONNECT" || r.Options == nil {
		return nil
	}
	out := r.Options.DeepCopyObject()
	out.GetObjectKind().SetGroupVersionKind(r.Own.Kind)
	return out
}

// UserInfo is who sends the request.
func (r *Request) UserInfo() authenticationv1.UserInfo {
	u := authenticationv1.UserInfo{Username: r.User.Name, UID: r.User.UID, Groups: r.User.Groups}
	if len(r.User.Extra) > 0 {
		u.Extra = map[string]authenticationv1.ExtraValue{}
		for k, v := range r.User.Extra {
			u.Extra[k] = v
		}
	}
	return u
}

// Annotated tells the audit, if anybody listens. The key must be qualified.
func (r *Request) Annotated(key, value string) {
	if r.Annotate != nil && strings.Contains(key, "/") {
		r.Annotate(key, value)
	}
}

// Warned tells the client, if it listens.
func (r *Request) Warned(text string) {
	if r.Warn != nil {
		r.Warn(text)
	}
}
