package storage_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/bedplate/bedplate/storage"
)

// A worker is listed for as long as it keeps its lease alive. This one never does.
func ExampleDB_Grant() {
	db, stop := open()
	defer stop()
	ctx := context.Background()
	workers, err := db.Table(storage.Schema{Prefix: "/registry/workers/"})
	if err != nil {
		log.Fatal(err)
	}
	now, err := workers.Snapshot(ctx, 0, false)
	if err != nil {
		log.Fatal(err)
	}
	w, err := workers.Watch(now.Rev(), storage.Filter{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	lease, err := db.Grant(ctx, time.Second)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := db.Commit(ctx, storage.Write{
		Table: workers, Key: "hall", Value: []byte("10.0.0.7"), Lease: lease.ID,
	}); err != nil {
		log.Fatal(err)
	}
	for there := true; there; {
		events, err := w.Next(ctx) // one or many
		if err != nil {
			log.Fatal(err)
		}
		for _, ev := range events {
			if there = ev.New != nil; there {
				fmt.Println("there:", ev.New.Key, string(ev.New.Raw))
			} else {
				fmt.Println("gone:", ev.Old.Key)
			}
		}
	}
	_, err = db.KeepAlive(ctx, lease.ID)
	fmt.Println(err)
	// Output:
	// there: hall 10.0.0.7
	// gone: hall
	// keep lease 1 alive: lease 1 has ended
}
