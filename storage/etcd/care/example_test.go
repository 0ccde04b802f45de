package care_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd"
	"github.com/bedplate/bedplate/storage/etcd/care"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// An embedded etcd that is looked after while it runs.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	server, err := embedded.New(embedded.Config{Dir: dir, History: -1}) // care compacts
	if err != nil {
		log.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	keeper, err := care.New(care.Config{
		Backend: server.Backend(), Maintenance: server.Maintenance(), Registerer: metrics,
	})
	if err != nil {
		log.Fatal(err)
	}
	backend, err := care.Measure(server.Backend(), metrics)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	kept, served := make(chan error), make(chan error)
	go func() { served <- server.Run(ctx) }()
	go func() { kept <- keeper.Run(ctx) }()

	_, err = backend.Commit(ctx, storage.Txn{Then: []storage.Op{{Key: "/registry/lights/hall", Value: []byte("on")}}})
	fmt.Println(err)
	cancel()
	fmt.Println(errors.Join(<-kept, <-served))
	// Output:
	// <nil>
	// <nil>
}

// A cluster elsewhere: all members are looked after, and several processes may do so.
func ExampleNew_client() {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"10.0.0.1:2379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	if err := client.Sync(ctx); err != nil { // all members' endpoints
		log.Fatal(err)
	}
	backend, err := etcd.New(client, etcd.Config{})
	if err != nil {
		log.Fatal(err)
	}
	keeper, err := care.New(care.Config{Backend: backend, Maintenance: client, Endpoints: client.Endpoints()})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(keeper.Run(ctx))
}

// Etcd's own metrics beside one's own.
func ExampleEtcdMetrics() {
	own := prometheus.NewRegistry()
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(prometheus.Gatherers{own, care.EtcdMetrics()}, promhttp.HandlerOpts{}))
}
