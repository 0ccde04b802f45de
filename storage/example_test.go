package storage_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// open runs a DB in memory; storage/etcd/embedded and storage/etcd have the same Backend on disk and over
// the network.
func open() (db *storage.DB, stop func()) {
	backend, err := memory.New(memory.Config{})
	if err != nil {
		log.Fatal(err)
	}
	db, err = storage.New(backend, storage.Config{Prefix: "/registry/"})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- db.Run(ctx) }()
	return db, func() {
		cancel()
		if err := <-ended; err != nil {
			log.Fatal(err)
		}
	}
}

// A Store is the typed way: values in, values out.
func Example() {
	db, stop := open()
	defer stop()
	ctx := context.Background()
	type Light struct {
		Color string `json:"color"`
		On    bool   `json:"on"`
	}
	lights, err := storage.NewStore[Light](db, "/registry/lights/", nil)
	if err != nil {
		log.Fatal(err)
	}
	_, since, err := lights.List(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := lights.Create(ctx, "hall/1", Light{Color: "white"}); err != nil {
		log.Fatal(err)
	}
	if _, err := lights.Update(ctx, "hall/1", func(l Light) (Light, error) {
		l.On = true
		return l, nil
	}); err != nil {
		log.Fatal(err)
	}
	for change, err := range lights.Watch(ctx, "hall/", since) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(change.Key, *change.New)
		if change.New.On {
			break
		}
	}
	// Output:
	// hall/1 {white false}
	// hall/1 {white true}
}

// Writes may depend on any other key: here on who leads.
func ExampleDB_Commit() {
	db, stop := open()
	defer stop()
	ctx := context.Background()
	pods, err := db.Table(storage.Schema{Prefix: "/registry/pods/"})
	if err != nil {
		log.Fatal(err)
	}
	leader, err := db.Commit(ctx, storage.Write{Key: "/fences/leader", Value: []byte("me")})
	if err != nil {
		log.Fatal(err)
	}
	fenced := storage.Write{
		Table: pods, Key: "default/web", Value: []byte("…"), At: storage.AnyRev,
		If: []storage.Cond{{Key: "/fences/leader", Rev: leader}},
	}
	_, err = db.Commit(ctx, fenced)
	fmt.Println("leading:", err)
	if _, err := db.Commit(ctx, storage.Write{Key: "/fences/leader", Value: []byte("she"), At: leader}); err != nil {
		log.Fatal(err)
	}
	_, err = db.Commit(ctx, fenced)
	fmt.Println("deposed:", errors.Is(err, storage.ErrConflict), err)
	// Output:
	// leading: <nil>
	// deposed: true commit: /fences/leader is at revision 4, expected 2
}

// A snapshot is a whole table at one revision; a watch goes on from there.
func ExampleTable_Watch() {
	db, stop := open()
	defer stop()
	ctx := context.Background()
	pods, err := db.Table(storage.Schema{Prefix: "/registry/pods/"})
	if err != nil {
		log.Fatal(err)
	}
	put := func(key, value string) {
		if _, err := db.Commit(ctx, storage.Write{Table: pods, Key: key, Value: []byte(value), At: storage.AnyRev}); err != nil {
			log.Fatal(err)
		}
	}
	put("default/a", "1")
	put("other/b", "1")
	snapshot, err := pods.Snapshot(ctx, 0, false)
	if err != nil {
		log.Fatal(err)
	}
	for e := range snapshot.All(storage.Filter{Prefix: "default/"}, "") {
		fmt.Println("listed", e.Key, string(e.Raw))
	}
	put("default/a", "2")
	w, err := pods.Watch(snapshot.Rev(), storage.Filter{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	events, err := w.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, ev := range events { // one or many
		fmt.Println("changed", ev.New.Key, string(ev.Old.Raw), "to", string(ev.New.Raw))
	}
	// Output:
	// listed default/a 1
	// changed default/a 1 to 2
}
