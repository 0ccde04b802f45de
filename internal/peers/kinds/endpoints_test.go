package kinds

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	coreapi "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/discovery"
	discoveryvalidation "k8s.io/kubernetes/pkg/apis/discovery/validation"
)

// The strategies of Endpoints and EndpointSlice are in packages that need the controllers' module. Their validation is
// in packages that don't, and their preparation, where there is one, is small.

type endpointsRules struct{ creator }

func (endpointsRules) PrepareForCreate(context.Context, runtime.Object)                 {}
func (endpointsRules) PrepareForUpdate(context.Context, runtime.Object, runtime.Object) {}
func (endpointsRules) Canonicalize(runtime.Object)                                      {}

func (endpointsRules) Validate(_ context.Context, o runtime.Object) field.ErrorList {
	return validation.ValidateEndpointsCreate(o.(*coreapi.Endpoints))
}

func (endpointsRules) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	return validation.ValidateEndpointsUpdate(o.(*coreapi.Endpoints), old.(*coreapi.Endpoints))
}

type endpointSliceRules struct{ creator }

func (endpointSliceRules) Canonicalize(runtime.Object) {}

func (endpointSliceRules) PrepareForCreate(_ context.Context, o runtime.Object) {
	s := o.(*discovery.EndpointSlice)
	s.Generation = 1
	withoutTopology(s, nil)
}

func (endpointSliceRules) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	s, before := o.(*discovery.EndpointSlice), old.(*discovery.EndpointSlice)
	same := equality.Semantic.DeepEqual(s.Endpoints, before.Endpoints)
	if !same || s.AddressType != before.AddressType || !equality.Semantic.DeepEqual(s.Ports, before.Ports) || !equality.Semantic.DeepEqual(s.Labels, before.Labels) {
		s.Generation = before.Generation + 1
	}
	if !same {
		withoutTopology(s, before)
	}
}

func withoutTopology(s, old *discovery.EndpointSlice) {
	nodes := map[string]bool{}
	if old != nil {
		for _, e := range old.Endpoints {
			nodes[e.DeprecatedTopology["kubernetes.io/hostname"]] = true
		}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		name := e.DeprecatedTopology["kubernetes.io/hostname"]
		if e.NodeName == nil && name != "" && nodes[name] && len(validation.ValidateNodeName(name, false)) == 0 {
			e.NodeName = &name
		}
		e.DeprecatedTopology = nil
	}
}

func (endpointSliceRules) Validate(_ context.Context, o runtime.Object) field.ErrorList {
	return discoveryvalidation.ValidateEndpointSliceCreate(o.(*discovery.EndpointSlice))
}

func (endpointSliceRules) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	return discoveryvalidation.ValidateEndpointSliceUpdate(o.(*discovery.EndpointSlice), old.(*discovery.EndpointSlice))
}
