package nodeproxy_test

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery/server/nodeproxy"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
)

// The connectors of an API server, which shows its nodes a certificate of their common authority.
func Example() {
	ca, err := pki.Open(pki.Config{})
	if err != nil {
		panic(err)
	}
	certificate, err := ca.ClientTLS("kube-apiserver-kubelet-client")
	if err != nil {
		panic(err)
	}
	connectors, err := nodeproxy.Connectors(nodeproxy.Config{
		TLS:  certificate,
		Node: func(_ context.Context, name string) (*corev1.Node, error) { return &corev1.Node{}, nil },
	})
	if err != nil {
		panic(err)
	}
	for _, name := range slices.Sorted(maps.Keys(connectors)) {
		fmt.Println(name)
	}
	// Output:
	// pods/attach
	// pods/exec
	// pods/log
	// pods/portforward
}
