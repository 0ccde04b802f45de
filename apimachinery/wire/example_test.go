package wire_test

import (
	"context"
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// What a client builds, a server parses.
func Example() {
	base := &url.URL{Scheme: "https", Host: "127.0.0.1:6443"}
	hr, err := wire.Build(context.Background(), base, &apimachinery.Request{
		Verb:      apimachinery.VerbWatch,
		Resource:  corev1.SchemeGroupVersion.WithResource("pods"),
		Namespace: "default",
		Options:   &metav1.ListOptions{LabelSelector: "app=web"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(hr.Method, hr.URL)
	r, _, err := wire.Parse(hr)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Verb, r.Namespace, r.Resource.Resource)
	// Output:
	// GET https://127.0.0.1:6443/api/v1/namespaces/default/pods?labelSelector=app%3Dweb&watch=true
	// watch default pods
}
