package serviceip

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ports fills in the node ports and the port of the health check that are missing, and judges those asked for.
// Whether another service has them is the transaction's to say.
func (w *work) ports() error {
	n := &w.s.Spec
	if n.Type != corev1.ServiceTypeNodePort && n.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	used, before := w.used(), map[int32]bool{}
	if w.old != nil {
		for _, p := range w.old.Spec.Ports {
			before[p.NodePort] = true
		}
	}
	shared := w.shared()
	for i := range n.Ports {
		p := &n.Ports[i]
		if p.NodePort == 0 {
			if n.Type == corev1.ServiceTypeLoadBalancer && n.AllocateLoadBalancerNodePorts != nil && !*n.AllocateLoadBalancerNodePorts {
				continue
			}
			p.NodePort = shared[p.Port]
		}
		if p.NodePort != 0 {
			if err := w.checkPort(p.NodePort); err != nil && !before[p.NodePort] {
				return w.invalid(field.Invalid(spec.Child("ports").Index(i).Child("nodePort"), p.NodePort, err.Error()))
			}
			continue
		}
		port, err := w.choosePort(used)
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
		}
		p.NodePort = port
		if shared != nil {
			shared[p.Port] = port
		}
	}
	return w.healthCheck(used)
}

// used are the node ports that the service itself has or asks for.
func (w *work) used() map[int32]bool {
	used := map[int32]bool{w.s.Spec.HealthCheckNodePort: true}
	for _, p := range w.s.Spec.Ports {
		used[p.NodePort] = true
	}
	return used
}

// shared are the node ports asked for, by port: on create, ports of one number and several protocols share one node
// port. It is nil on update.
func (w *work) shared() map[int32]int32 {
	if w.old != nil {
		return nil
	}
	out := map[int32]int32{}
	for _, p := range w.s.Spec.Ports {
		if out[p.Port] == 0 {
			out[p.Port] = p.NodePort
		}
	}
	return out
}

// healthCheck gives a port to a service that has come to need one for its health check.
func (w *work) healthCheck(used map[int32]bool) error {
	if !needsHealthCheck(w.s) || w.old != nil && needsHealthCheck(w.old) {
		return nil
	}
	port := &w.s.Spec.HealthCheckNodePort
	if *port != 0 {
		if err := w.checkPort(*port); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %d: %w", *port, err))
		}
		return nil
	}
	chosen, err := w.choosePort(used)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort %d: %w", *port, err))
	}
	*port = chosen
	return nil
}

func needsHealthCheck(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func (w *work) checkPort(port int32) error {
	if c := &w.a.c; port < c.FirstPort || port > c.LastPort {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %d-%d", c.FirstPort, c.LastPort)
	}
	return nil
}

// portKey is the bare key of a node port's claim.
func portKey(port int32) string { return fmt.Sprintf("nodeports/%d", port) }

// choosePort returns a free port, and marks it as used.
func (w *work) choosePort(used map[int32]bool) (int32, error) {
	at, ok, err := w.a.ports.pick(w.a.c.Random, func(at uint64) (bool, error) {
		port := w.a.c.FirstPort + int32(at)
		if used[port] {
			return true, nil
		}
		return w.held.Has(w.ctx, schema.GroupResource{}, portKey(port))
	})
	if err != nil {
		return 0, fmt.Errorf("look for a free node port: %w", err)
	}
	if !ok {
		return 0, errFull
	}
	port := w.a.c.FirstPort + int32(at)
	used[port] = true
	return port, nil
}
