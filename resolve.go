package bedplate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/storage"
)

// resolve implements server.ServiceResolver: an endpoint that is ready, as the machine of the control plane may have no
// service proxy, or the name that an ExternalName stands for.
func (l *lookup) resolve(ctx context.Context, namespace, name string, port int32) (*url.URL, error) {
	s, err := get[*corev1.Service](ctx, l, resourceV1("services"), namespace, name)
	if err != nil {
		return nil, err
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return httpsAt(s.Spec.ExternalName, port), nil
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.Port != port || p.Protocol != corev1.ProtocolTCP && p.Protocol != "" {
			continue
		}
		if at := l.endpoint(ctx, s, p); at != nil {
			return at, nil
		}
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", port, name))
}

func httpsAt(host string, port int32) *url.URL {
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(int(port)))}
}

// endpoint picks one of the endpoints of a service's port that are ready; nil if there is none.
func (l *lookup) endpoint(ctx context.Context, s *corev1.Service, p *corev1.ServicePort) *url.URL {
	slices := discoveryv1.SchemeGroupVersion.WithResource("endpointslices")
	table, ok := l.server.Table(slices.GroupResource())
	if !ok {
		return nil
	}
	snap, err := table.Snapshot(ctx, storage.Cached, false)
	if err != nil {
		return nil
	}
	of := storage.Filter{Prefix: s.Namespace + "/", LabelIs: []storage.Pair{{Key: discoveryv1.LabelServiceName, Value: s.Name}}}
	var found []*url.URL
	for e := range snap.All(of, "") {
		o, err := l.server.Object(slices, e)
		if err != nil {
			continue
		}
		found = append(found, ready(o.(*discoveryv1.EndpointSlice), p)...)
	}
	if len(found) == 0 {
		return nil
	}
	return found[rand.IntN(len(found))]
}

// ready are the endpoints of a slice that serve a port of the service.
func ready(s *discoveryv1.EndpointSlice, p *corev1.ServicePort) (out []*url.URL) {
	number := int32(0)
	for i := range s.Ports {
		have := &s.Ports[i]
		if have.Port != nil && (have.Name == nil && p.Name == "" || have.Name != nil && *have.Name == p.Name) {
			number = *have.Port
		}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if number != 0 && len(e.Addresses) > 0 && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
			out = append(out, httpsAt(e.Addresses[0], number))
		}
	}
	return out
}
