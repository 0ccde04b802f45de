package apimachinery

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Object is anything with Kubernetes metadata: every type of k8s.io/api that has an ObjectMeta, every
// kubebuilder type, and every [Typed].
type Object interface {
	metav1.Object
	runtime.Object
}

// Key names an object within its resource: "name", or "namespace/name".
func Key(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// KeyOf is [Key] of an object's own namespace and name.
func KeyOf(o metav1.Object) string { return Key(o.GetNamespace(), o.GetName()) }
