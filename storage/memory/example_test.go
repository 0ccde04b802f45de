package memory_test

import (
	"context"
	"fmt"
	"log"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// Revisions count as etcd's do: 1 is empty, each change makes the next.
func Example() {
	ctx := context.Background()
	b, err := memory.New(memory.Config{})
	if err != nil {
		log.Fatal(err)
	}
	rev, err := b.Commit(ctx, storage.Txn{
		If:   []storage.Cond{{Key: "/a"}}, // must not exist
		Then: []storage.Op{{Key: "/a", Value: []byte("1")}, {Key: "/b", Value: []byte("1")}},
	})
	fmt.Println(rev, err)
	_, err = b.Commit(ctx, storage.Txn{
		If:   []storage.Cond{{Key: "/a"}},
		Then: []storage.Op{{Key: "/a", Value: []byte("2")}},
	})
	fmt.Println(err)
	// Output:
	// 2 <nil>
	// /a exists already, at revision 2
}
