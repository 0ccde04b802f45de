package etcd_test

import (
	"context"
	"fmt"
	"log"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd"
)

// Typed objects in an etcd that runs elsewhere.
func Example() {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:2379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	backend, err := etcd.New(client, etcd.Config{})
	if err != nil {
		log.Fatal(err)
	}
	db, err := storage.New(backend, storage.Config{Prefix: "/lights/"})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { log.Print(db.Run(ctx)) }()

	lights, err := storage.NewStore[string](db, "/lights/hall/", nil)
	if err != nil {
		log.Fatal(err)
	}
	item, err := lights.Get(ctx, "1")
	fmt.Println(item.Value, err)
}
