package embedded_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// A cluster: the first member starts by itself and invites the second, which as a rule is in another process on
// another machine. What one writes, the other reads.
func Example_cluster() {
	ctx, cancel := context.WithCancel(context.Background())
	run := func(c embedded.Config) (*embedded.Server, <-chan error) {
		dir, err := os.MkdirTemp("", "store")
		if err != nil {
			log.Fatal(err)
		}
		c.Dir = dir
		s, err := embedded.New(c)
		if err != nil {
			log.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			ended <- s.Run(ctx)
			os.RemoveAll(dir)
		}()
		select {
		case <-s.Ready():
		case err := <-ended:
			log.Fatal(err)
		}
		return s, ended
	}
	first, ended1 := run(embedded.Config{Name: "one", Cluster: &embedded.Cluster{Listen: "127.0.0.1:0"}})
	invitation, err := first.Invite(ctx, "two")
	if err != nil {
		log.Fatal(err)
	}
	second, ended2 := run(embedded.Config{Cluster: &embedded.Cluster{Listen: "127.0.0.1:0", Join: invitation}})

	rev, err := first.Backend().Commit(ctx, storage.Txn{Then: []storage.Op{{Key: "/a", Value: []byte("1")}}})
	fmt.Println(rev, err)
	page, err := second.Backend().Range(ctx, storage.Range{Prefix: "/a"})
	fmt.Println(string(page.KVs[0].Value), err)
	members, err := second.Members(ctx)
	fmt.Println(len(members), err)
	cancel()
	fmt.Println(<-ended1, <-ended2)
	// Output:
	// 2 <nil>
	// 1 <nil>
	// 2 <nil>
	// <nil> <nil>
}
