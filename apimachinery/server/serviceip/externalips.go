package serviceip

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
)

// DenyExternalIPs returns the admission plugin DenyServiceExternalIPs. By spec.externalIPs whoever may write a Service
// draws traffic to any address onto it (CVE-2020-8554); the plugin lets nobody add one. Those that a Service has
// already stay, or go.
func DenyExternalIPs() apimachinery.Plugin {
	return apimachinery.Plugin{Name: "DenyServiceExternalIPs", Validate: denyExternal{}}
}

type denyExternal struct{}

// Validate implements [apimachinery.Validator].
func (denyExternal) Validate(_ context.Context, a *apimachinery.Admission) error {
	s, ok := a.Object.(*corev1.Service)
	if !ok || a.Sub != "" {
		return nil
	}
	var before []string
	if old, ok := a.Old.(*corev1.Service); ok {
		before = old.Spec.ExternalIPs
	}
	for _, ip := range s.Spec.ExternalIPs {
		if !slices.Contains(before, ip) {
			return apierrors.NewForbidden(services, a.Name, errors.New("Use of external IPs is denied by admission control.")) //nolint:staticcheck // Kubernetes' words
		}
	}
	return nil
}
