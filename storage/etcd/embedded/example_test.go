package embedded_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// A store on disk, inside this process: start the member, put a DB on it, and stop both in reverse.
func Example() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	server, err := embedded.New(embedded.Config{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- server.Run(ctx) }()
	select {
	case <-server.Ready():
	case err := <-ended:
		log.Fatal(err)
	}
	rev, err := server.Backend().Commit(ctx, storage.Txn{Then: []storage.Op{{Key: "/a", Value: []byte("1")}}})
	fmt.Println(rev, err)
	cancel()
	fmt.Println(<-ended)
	// Output:
	// 2 <nil>
	// <nil>
}
