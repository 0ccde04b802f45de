// Package serviceaccount sees to it that each namespace has its service accounts: "default", which pods get that
// name no other.
package serviceaccount

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
)

// Name is the account that each namespace has.
const Name = "default"

// Add adds the controller to a manager whose client knows Namespace and ServiceAccount.
func Add(m *reconcile.Manager) error {
	accounts := client.For[*corev1.ServiceAccount](m.Client())
	cache, err := reconcile.Informer[*corev1.ServiceAccount](m)
	if err != nil {
		return err
	}
	return reconcile.Add(m, reconcile.Controller[*corev1.Namespace]{
		Name: "serviceaccount",
		Watches: []reconcile.Watch{reconcile.Watches(func(sa *corev1.ServiceAccount) []string {
			if sa.Name != Name {
				return nil
			}
			return []string{sa.Namespace}
		})},
		Reconcile: func(ctx context.Context, ns *corev1.Namespace) (reconcile.Result, error) {
			_, have := cache.View(apimachinery.Key(ns.Name, Name))
			if !Missing(ns, have) {
				return reconcile.Result{}, nil
			}
			_, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: Name}})
			if apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				return reconcile.Result{}, nil
			}
			return reconcile.Result{}, err
		},
	})
}

// Missing says whether the account is to be made. It is a pure function.
func Missing(ns *corev1.Namespace, have bool) bool {
	return !have && ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceTerminating
}
