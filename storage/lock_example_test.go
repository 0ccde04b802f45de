package storage_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/bedplate/bedplate/storage"
)

// Who holds the lock writes with its fence. Whatever keeps a holder from noticing that the lock is lost, the
// store refuses what it writes then.
func ExampleLocks() {
	db, stop := open()
	defer stop()
	ctx := context.Background()
	locks, err := storage.NewLocks(db, storage.LocksConfig{Holder: "machine 1"})
	if err != nil {
		log.Fatal(err)
	}
	lock, err := locks.Acquire(ctx, "backup")
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Release(ctx)
	backup := storage.Write{
		Key: "/registry/backup/last", Value: []byte("Monday"), At: storage.AnyRev, If: []storage.Cond{lock.Fence()},
	}
	_, err = db.Commit(ctx, backup)
	fmt.Println("held:", err)

	_, err = locks.TryAcquire(ctx, "backup")
	fmt.Println(err)

	// Somebody takes the lock away, as time does from a holder who is not heard of.
	if _, err := db.Commit(ctx, storage.Write{Key: lock.Fence().Key, At: storage.AnyRev}); err != nil {
		log.Fatal(err)
	}
	_, err = db.Commit(ctx, backup)
	fmt.Println("lost:", errors.Is(err, storage.ErrConflict))
	<-lock.Lost()
	fmt.Println(lock.Release(ctx))
	// Output:
	// held: <nil>
	// try to acquire lock "backup": locked by another
	// lost: true
	// lock lost
}
