package apitest

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/rbac"
	"github.com/bedplate/bedplate/storage"
)

// get returns a shared object: from the cache if it is there, else as the store has it now.
func get[T apimachinery.Object](ctx context.Context, a *API, gvr schema.GroupVersionResource, namespace, name string) (T, error) {
	var none T
	table, ok := a.server.Table(gvr.GroupResource())
	if !ok {
		return none, apierrors.NewNotFound(gvr.GroupResource(), name)
	}
	key := apimachinery.Key(namespace, name)
	e, err := table.Get(ctx, key, storage.Cached)
	if errors.Is(err, storage.ErrNotFound) {
		e, err = table.Get(ctx, key, 0)
	}
	if errors.Is(err, storage.ErrNotFound) {
		return none, apierrors.NewNotFound(gvr.GroupResource(), name)
	}
	if err != nil {
		return none, err
	}
	o, err := a.server.Object(gvr, e)
	if err != nil {
		return none, err
	}
	return o.(T), nil
}

func (a *API) namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	return get[*corev1.Namespace](ctx, a, corev1.SchemeGroupVersion.WithResource("namespaces"), "", name)
}

// bound finds what the tokens of service accounts are bound to.
func (a *API) bound(ctx context.Context, kind, namespace, name string) (apimachinery.Object, error) {
	v1 := corev1.SchemeGroupVersion
	switch kind {
	case "ServiceAccount":
		return get[*corev1.ServiceAccount](ctx, a, v1.WithResource("serviceaccounts"), namespace, name)
	case "Pod":
		return get[*corev1.Pod](ctx, a, v1.WithResource("pods"), namespace, name)
	case "Node":
		return get[*corev1.Node](ctx, a, v1.WithResource("nodes"), "", name)
	case "Secret":
		return get[*corev1.Secret](ctx, a, v1.WithResource("secrets"), namespace, name)
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: kind}, name)
}

// resolve says where a service is: nothing runs behind the cluster's addresses, so that is an ExternalName or nowhere.
func (a *API) resolve(ctx context.Context, namespace, name string, port int32) (*url.URL, error) {
	s, err := get[*corev1.Service](ctx, a, corev1.SchemeGroupVersion.WithResource("services"), namespace, name)
	if err != nil {
		return nil, err
	}
	if s.Spec.Type != corev1.ServiceTypeExternalName {
		return nil, apierrors.NewServiceUnavailable("no endpoints available for service " + strconv.Quote(name))
	}
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(s.Spec.ExternalName, strconv.Itoa(int(port)))}, nil
}

// door is the API server itself, which may do anything.
type door struct{ api *API }

// Do implements apimachinery.Doer.
func (d door) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	who := apimachinery.User{Name: "system:apiserver", Groups: []string{rbac.MastersGroup, rbac.AuthenticatedGroup}}
	return d.api.server.As(who).Do(ctx, r)
}
