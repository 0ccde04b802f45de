package hook

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/bedplate/bedplate/apimachinery"
)

// Encode writes an object as JSON.
func Encode(o runtime.Object) ([]byte, error) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return apimachinery.Encode(u.Object)
	}
	return apimachinery.Encode(o)
}

// Decode reads an object of the kind that travels at a target. What that doesn't know is left out.
func (r *Request) Decode(t Target, raw []byte) (apimachinery.Object, error) {
	o, err := r.New(t)
	if err != nil {
		return nil, err
	}
	if u, ok := o.(*unstructured.Unstructured); ok {
		u.Object = nil
		err = apimachinery.DecodeLoose(raw, &u.Object)
	} else {
		err = apimachinery.DecodeLoose(raw, o)
	}
	if err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(t.Kind)
	return o, nil
}

// Default fills in what a change left out of the request's object, for those who see it next.
func (r *Request) Default() {
	f, ok := r.cluster.Registry.ForResource(r.Own.Resource)
	if ok && f.Resource.Default != nil && !r.ownKind() {
		f.Resource.Default(r.Object)
		clear(r.seen)
	}
}
