package serviceip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
)

var (
	services     = schema.GroupResource{Resource: "services"}
	addresses    = schema.GroupResource{Group: networkingv1.GroupName, Resource: "ipaddresses"}
	serviceCIDRs = schema.GroupResource{Group: networkingv1.GroupName, Resource: "servicecidrs"}

	spec      = field.NewPath("spec")
	errFull   = errors.New("range is full")
	errRanges = errors.New("the provided network does not match the current range")
)

// Allocate implements [server.IPAllocator]: it gives a Service the policy and the families of its addresses, the
// addresses, node ports and the port of its health check. Other objects stay as they are.
func (a *Allocator) Allocate(ctx context.Context, new, old apimachinery.Object, held server.Held) error {
	s, ok := new.(*corev1.Service)
	if !ok {
		return nil
	}
	o, _ := old.(*corev1.Service)
	w := work{a: a, ctx: ctx, held: held, s: s, old: o}
	if err := w.addresses(); err != nil {
		return err
	}
	return w.ports()
}

// Release implements [server.IPAllocator]: an IPAddress stays for as long as its Service has the address.
func (a *Allocator) Release(ctx context.Context, o apimachinery.Object, held server.Held) error {
	ip, ok := o.(*networkingv1.IPAddress)
	if !ok || ip.Spec.ParentRef == nil {
		return nil
	}
	ref := ip.Spec.ParentRef
	if (schema.GroupResource{Group: ref.Group, Resource: ref.Resource}) != services {
		return nil
	}
	parent, err := held.Get(ctx, services, ref.Namespace, ref.Name)
	if err != nil {
		return fmt.Errorf("look for service %s/%s: %w", ref.Namespace, ref.Name, err)
	}
	s, ok := parent.(*corev1.Service)
	if !ok || !slices.Contains(s.Spec.ClusterIPs, ip.Name) {
		return nil
	}
	return apierrors.NewForbidden(addresses, ip.Name, fmt.Errorf("service %s/%s has this address: it goes with the service", ref.Namespace, ref.Name))
}

// work is the allocation for one service. old is nil on create.
type work struct {
	a      *Allocator
	ctx    context.Context
	held   server.Held
	s, old *corev1.Service
}

func (w *work) invalid(errs ...*field.Error) error {
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, w.s.Name, errs)
}

// addresses settles policy and families, and fills in the addresses that are missing.
func (w *work) addresses() error {
	spec := &w.s.Spec
	if spec.Type == corev1.ServiceTypeExternalName || w.staysAsItIs() {
		return nil
	}
	if err := w.families(); err != nil {
		return err
	}
	kept := 0 // addresses that the service has already, which validation holds it to
	if w.old != nil && w.old.Spec.Type != corev1.ServiceTypeExternalName {
		kept = len(w.old.Spec.ClusterIPs)
	}
	if headless(w.s) || w.old != nil && headless(w.old) && w.old.Spec.Type != corev1.ServiceTypeExternalName {
		return nil
	}
	ranges, err := w.ranges()
	if err != nil {
		return err
	}
	for i, family := range spec.IPFamilies {
		if i < len(spec.ClusterIPs) {
			if i >= kept {
				err = w.check(spec.ClusterIPs[i], ranges)
			}
		} else if err = w.choose(family, ranges); err == nil && i == 0 {
			spec.ClusterIP = spec.ClusterIPs[0]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ranges are those of the configuration, then those of ServiceCIDR objects.
func (w *work) ranges() ([]cidr, error) {
	out := slices.Clip(w.a.ranges)
	for o, err := range w.held.Each(w.ctx, serviceCIDRs) {
		if err != nil {
			return nil, fmt.Errorf("look for service ranges: %w", err)
		}
		s, ok := o.(*networkingv1.ServiceCIDR)
		if !ok || !ready(s) {
			continue
		}
		for _, text := range s.Spec.CIDRs {
			p, err := netip.ParsePrefix(text)
			if err != nil || p.Addr().Is6() && p.Bits() < 64 {
				continue // not one that addresses are handed out of
			}
			if !slices.ContainsFunc(out, func(c cidr) bool { return c.prefix == p.Masked() }) {
				out = append(out, newCIDR(p))
			}
		}
	}
	return out, nil
}

// ready says whether addresses may come out of a ServiceCIDR: unless it is going, or somebody says that it isn't.
func ready(s *networkingv1.ServiceCIDR) bool {
	if s.DeletionTimestamp != nil {
		return false
	}
	for _, c := range s.Status.Conditions {
		if c.Type == networkingv1.ServiceCIDRConditionReady {
			return c.Status == "True"
		}
	}
	return true
}

// check judges an address that was asked for by name. Whether another has it is the transaction's to say.
func (w *work) check(text string, ranges []cidr) error {
	ip, err := netip.ParseAddr(text)
	if err == nil && slices.ContainsFunc(ranges, func(c cidr) bool { return c.has(ip) }) {
		return nil
	}
	return w.invalid(field.Invalid(spec.Child("clusterIPs"), w.s.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %v", text, errRanges)))
}

// choose appends a free address of a family.
func (w *work) choose(family corev1.IPFamily, ranges []cidr) error {
	for _, c := range ranges {
		if familyOf(c.first) != family {
			continue
		}
		at, ok, err := c.span.pick(w.a.c.Random, func(at uint64) (bool, error) {
			return w.held.Has(w.ctx, addresses, c.at(at).String())
		})
		if err != nil {
			return fmt.Errorf("look for a free service address: %w", err)
		}
		if ok {
			w.s.Spec.ClusterIPs = append(w.s.Spec.ClusterIPs, c.at(at).String())
			return nil
		}
	}
	return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: %w", w.s.Name, errFull))
}

func headless(s *corev1.Service) bool {
	return len(s.Spec.ClusterIPs) > 0 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}
