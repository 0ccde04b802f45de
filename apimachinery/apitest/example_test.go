package apitest_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/apitest"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// An API for TestMain. In a test, apitest.Start(t) does without error and Close.
func ExampleOpen() {
	ctx := context.Background()
	api, err := apitest.Open(ctx, apitest.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer api.Close()
	// api.RESTConfig() is for client-go and controller-runtime, api.WriteKubeconfig for kubectl.
	made, err := client.For[*corev1.Service](api.Client()).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(made.Spec.Type, made.Spec.Ports[0].Protocol)
	// Output: ClusterIP TCP
}
