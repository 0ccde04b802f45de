package kinds

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	coreapi "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/registry/core/configmap"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// serviceRules have Kubernetes' validation of Services. Its preparation is in a package that needs the modules of its
// proxy, so what is validated is what ours prepares.
type serviceRules struct {
	creator
	k       kubernetes
	prepare func(ctx context.Context, new, old apimachinery.Object)
	sub     string
}

func newServiceRules(sub string) serviceRules {
	r := serviceRules{creator: configmap.Strategy, k: newKubernetes(), prepare: core.Services().Prepare, sub: sub}
	if sub != "" {
		r.prepare = core.Services().Subs[sub].Strategy.Prepare
	}
	return r
}

// ours is an internal object as ours work on it.
func (r serviceRules) ours(o runtime.Object) apimachinery.Object {
	out, err := r.k.external(o, corev1.SchemeGroupVersion.WithKind("Service"))
	if err != nil {
		panic(err)
	}
	return out.(apimachinery.Object)
}

func (r serviceRules) prepared(new runtime.Object, old apimachinery.Object) {
	o := r.ours(new)
	r.prepare(context.Background(), o, old)
	in, err := r.k.internal(o)
	if err != nil {
		panic(err)
	}
	*new.(*coreapi.Service) = *in.(*coreapi.Service)
}

func (r serviceRules) PrepareForCreate(_ context.Context, o runtime.Object) { r.prepared(o, nil) }

func (r serviceRules) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	r.prepared(o, r.ours(old))
}

func (serviceRules) Canonicalize(runtime.Object) {}

func (serviceRules) Validate(_ context.Context, o runtime.Object) field.ErrorList {
	return validation.ValidateServiceCreate(o.(*coreapi.Service))
}

func (r serviceRules) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	if r.sub == "status" {
		return validation.ValidateServiceStatusUpdate(o.(*coreapi.Service), old.(*coreapi.Service))
	}
	return validation.ValidateServiceUpdate(o.(*coreapi.Service), old.(*coreapi.Service))
}
