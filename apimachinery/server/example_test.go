package server_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// An API of one kind in memory, used from the same process. Run would serve it over HTTPS beside that.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	backend, err := memory.New(memory.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	db, err := storage.New(backend, storage.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	stopped := make(chan error, 1)
	go func() { stopped <- db.Run(ctx) }()

	registry, err := apimachinery.NewRegistry(configMapResource())
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := server.New(server.Config{Registry: registry, DB: db})
	if err != nil {
		fmt.Println(err)
		return
	}
	api := s.As(apimachinery.User{Name: "me"})
	resp, err := api.Do(ctx, &apimachinery.Request{
		Verb: apimachinery.VerbCreate, Resource: corev1.SchemeGroupVersion.WithResource("configmaps"), Namespace: "default",
		Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "greeting"}, Data: map[string]string{"text": "hello"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var made corev1.ConfigMap
	if err := apimachinery.DecodeLoose(resp.Body, &made); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(resp.Code, made.Namespace, made.Name, made.Data["text"])
	cancel()
	<-stopped
	// Output: 201 default greeting hello
}
