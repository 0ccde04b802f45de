package storage_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/bedplate/bedplate/storage"
)

// jobs is a table whose schema reads what filters go by from the stored JSON, once for each object.
func jobs(db *storage.DB) *storage.Table {
	t, err := db.Table(storage.Schema{
		Prefix:  "/registry/jobs/",
		Indexes: []string{"node"},
		Head: func(raw []byte) (storage.Head, error) {
			var job struct{ Node, Team string }
			err := json.Unmarshal(raw, &job)
			return storage.Head{Index: []string{job.Node}, Labels: []storage.Pair{{Key: "team", Value: job.Team}}}, err
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	return t
}

func set(db *storage.DB, t *storage.Table, key, value string) int64 {
	rev, err := db.Commit(context.Background(), storage.Write{Table: t, Key: key, Value: []byte(value), At: storage.AnyRev})
	if err != nil {
		log.Fatal(err)
	}
	return rev
}

// Lists by a declared field or a label cost what they return, and see any revision that the store still has.
func ExampleFilter() {
	db, stop := open()
	defer stop()
	ctx, t := context.Background(), jobs(db)
	set(db, t, "a", `{"node": "n1", "team": "blue"}`)
	set(db, t, "b", `{"node": "n2", "team": "blue"}`)
	before := set(db, t, "c", `{"node": "n2", "team": "red"}`)
	set(db, t, "b", `{"node": "n1", "team": "blue"}`)

	on := storage.Filter{IndexIs: []storage.Pair{{Key: "node", Value: "n1"}}}
	for _, at := range []int64{0, before} { // now, and then
		jobs, err := t.Snapshot(ctx, at, true)
		if err != nil {
			log.Fatal(err)
		}
		for job := range jobs.All(on, "") {
			fmt.Println("at", jobs.Rev(), job.Key)
		}
	}
	// Output:
	// at 5 a
	// at 5 b
	// at 4 a
}

// What an object was lately.
func ExampleTable_History() {
	db, stop := open()
	defer stop()
	t := jobs(db)
	if _, err := t.Snapshot(context.Background(), 0, false); err != nil { // the window begins when the table is loaded
		log.Fatal(err)
	}
	set(db, t, "a", `{"node": "n1"}`)
	set(db, t, "a", `{"node": "n2"}`)
	versions, _, err := t.History(context.Background(), "a")
	if err != nil {
		log.Fatal(err)
	}
	for _, v := range versions {
		fmt.Println(v.Rev, string(v.Entry.Raw))
	}
	// Output:
	// 2 {"node": "n1"}
	// 3 {"node": "n2"}
}
