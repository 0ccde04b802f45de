package backup_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/backup"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// A snapshot of a store that is in use, and a store made of it.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(context.Background())
	server, err := embedded.New(embedded.Config{Dir: filepath.Join(dir, "data")})
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- server.Run(ctx) }()
	_, err = server.Backend().Commit(ctx, storage.Txn{Then: []storage.Op{{Key: "/lights/hall", Value: []byte("on")}}})
	if err != nil {
		log.Fatal(err)
	}

	file := filepath.Join(dir, "snapshot.db")
	report := func(p backup.Progress) { log.Print(p.Stage, " ", p.Done, " of ", p.Total) }
	info, err := backup.Save(ctx, server.Maintenance(), file, report)
	fmt.Println(info.Keys, info.Revision, err)
	cancel()
	fmt.Println(<-ended)

	restored, err := backup.Restore(context.Background(), file, backup.Config{Dir: filepath.Join(dir, "new")}, report)
	fmt.Println(restored.At, err)
	_, err = backup.Restore(context.Background(), file, backup.Config{Dir: filepath.Join(dir, "data")}, nil)
	fmt.Println(errors.Is(err, backup.ErrNotEmpty))
	// Output:
	// 1 2 <nil>
	// <nil>
	// 1000000002 <nil>
	// true
}
