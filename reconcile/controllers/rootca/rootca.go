// Package rootca publishes the certificate of the API server's authority in each namespace, in the ConfigMap
// kube-root-ca.crt, where pods find it beside their token.
package rootca

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
)

// Name is the ConfigMap's, and Key that of the certificate in it.
const (
	Name = "kube-root-ca.crt"
	Key  = "ca.crt"
)

// Add adds the controller to a manager whose client knows Namespace and ConfigMap. ca is the certificate in PEM.
func Add(m *reconcile.Manager, ca []byte) error {
	if len(ca) == 0 {
		return errors.New("add controller rootca: there is no certificate to publish")
	}
	maps := client.For[*corev1.ConfigMap](m.Client())
	return reconcile.Add(m, reconcile.Controller[*corev1.Namespace]{
		Name: "rootca",
		// Of all other ConfigMaps nobody here needs more than the name, so nobody decodes them.
		Watches: []reconcile.Watch{reconcile.WatchesMetadata(corev1.SchemeGroupVersion.WithResource("configmaps"), true, func(cm *metav1.PartialObjectMetadata) []string {
			if cm.Name != Name {
				return nil
			}
			return []string{cm.Namespace}
		})},
		Reconcile: func(ctx context.Context, ns *corev1.Namespace) (reconcile.Result, error) {
			have, err := current(ctx, maps, ns.Name)
			if err != nil {
				return reconcile.Result{}, err
			}
			want, change := Diff(ns, have, string(ca))
			switch {
			case !change:
			case have != nil:
				_, err = maps.Update(ctx, want)
			default:
				_, err = maps.Create(ctx, want)
			}
			if apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				err = nil
			}
			return reconcile.Result{}, err
		},
	})
}

// current is the namespace's ConfigMap, nil if there is none. It is listed: the controller's role may not get it.
func current(ctx context.Context, maps client.Resource[*corev1.ConfigMap], namespace string) (*corev1.ConfigMap, error) {
	list, err := maps.List(ctx, client.InNamespace(namespace), client.Fields("metadata.name="+Name))
	if err != nil || len(list.Items) == 0 {
		return nil, err
	}
	return list.Items[0], nil
}

// Diff is the ConfigMap as it should be, and whether that is a change; have is the caller's own, nil if there is
// none. It is a pure function.
func Diff(ns *corev1.Namespace, have *corev1.ConfigMap, ca string) (want *corev1.ConfigMap, change bool) {
	if ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		return have, false
	}
	if have == nil {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: Name, Annotations: map[string]string{
				"kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
					"No other usage is guaranteed across distributions of Kubernetes clusters.",
			}},
			Data: map[string]string{Key: ca},
		}, true
	}
	if len(have.Data) == 1 && have.Data[Key] == ca {
		return have, false
	}
	have.Data = map[string]string{Key: ca}
	return have, true
}
