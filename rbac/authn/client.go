package authn

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// FromClient returns the [Getter] that asks an API. The client's registry must know the four kinds, and its
// identity must be allowed to get them.
func FromClient(c *client.Client) Getter {
	return GetterFunc(func(ctx context.Context, kind, namespace, name string) (apimachinery.Object, error) {
		switch kind {
		case "ServiceAccount":
			return get[*corev1.ServiceAccount](ctx, c, namespace, name)
		case "Pod":
			return get[*corev1.Pod](ctx, c, namespace, name)
		case "Secret":
			return get[*corev1.Secret](ctx, c, namespace, name)
		case "Node":
			return get[*corev1.Node](ctx, c, namespace, name)
		}
		return nil, fmt.Errorf("tokens are not bound to a %s", kind)
	})
}

func get[T apimachinery.Object](ctx context.Context, c *client.Client, namespace, name string) (apimachinery.Object, error) {
	return client.For[T](c).Get(ctx, namespace, name)
}
