package serviceip_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/networking"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/serviceip"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A server with an allocator gives each Service an address, and an IPAddress object that stands for it.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	alloc, err := serviceip.New(serviceip.Config{Ranges: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/30")}})
	check := func(err error) {
		if err != nil {
			fmt.Println(err)
		}
	}
	check(err)
	backend, err := memory.New(memory.Config{})
	check(err)
	db, err := storage.New(backend, storage.Config{})
	check(err)
	go func() { check(db.Run(ctx)) }()
	registry, err := apimachinery.NewRegistry(core.Services(), networking.IPAddresses(), networking.ServiceCIDRs())
	check(err)
	s, err := server.New(server.Config{Registry: registry, DB: db, Allocator: alloc})
	check(err)

	c := client.New(s.As(apimachinery.User{Name: "me"}), registry)
	services := client.For[*corev1.Service](c)
	for _, name := range []string{"a", "b", "c"} {
		web := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		web.Spec.Ports = []corev1.ServicePort{{Port: 80}}
		if _, err := services.Create(ctx, web); err != nil {
			fmt.Println(err)
		}
	}
	// Output: create services default/c: Internal error occurred: failed to allocate a serviceIP for Service "c": range is full
}
