package seal_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
	"github.com/bedplate/bedplate/storage/seal"
)

// newKey makes a key; a real one comes from where it is kept.
func newKey(name string) seal.Provider {
	secret := make([]byte, 32)
	rand.Read(secret)
	p, err := seal.NewXAESGCM(name, secret)
	if err != nil {
		log.Fatal(err)
	}
	return p
}

// stored shows how a value begins in the store below.
func stored(below storage.Backend, key string) string {
	page, err := below.Range(context.Background(), storage.Range{Prefix: key})
	if err != nil {
		log.Fatal(err)
	}
	v := page.KVs[0].Value
	return string(v[:bytes.LastIndexByte(v[:min(len(v), 40)], ':')+1])
}

// Secrets are sealed, everything else is not. A value that was moved is refused.
func Example() {
	ctx := context.Background()
	below, err := memory.New(memory.Config{}) // or an etcd
	if err != nil {
		log.Fatal(err)
	}
	sealed, err := seal.New(below, seal.Config{Rules: []seal.Rule{
		{Prefixes: []string{"/registry/secrets/"}, Providers: []seal.Provider{newKey("2026")}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	db, err := storage.New(sealed.Backend(), storage.Config{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error)
	go func() { ended <- db.Run(ctx) }()
	secrets, err := storage.NewStore[string](db, "/registry/secrets/", nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := secrets.Create(ctx, "mine", "hunter2"); err != nil {
		log.Fatal(err)
	}
	item, err := secrets.Get(ctx, "mine")
	fmt.Println("above:", item.Value, err)
	fmt.Println("below:", stored(below, "/registry/secrets/mine"))

	page, err := below.Range(ctx, storage.Range{Prefix: "/registry/secrets/mine"})
	if err != nil {
		log.Fatal(err)
	}
	moved := storage.Op{Key: "/registry/secrets/yours", Value: page.KVs[0].Value}
	if _, err := below.Commit(ctx, storage.Txn{Then: []storage.Op{moved}}); err != nil {
		log.Fatal(err)
	}
	_, err = secrets.Get(ctx, "yours")
	fmt.Println("moved:", errors.Is(err, storage.ErrCorrupt), errors.Is(err, seal.ErrNotAuthentic))
	cancel()
	fmt.Println(<-ended)
	// Output:
	// above: hunter2 <nil>
	// below: k8s:enc:bedplate-xaes256gcm:v1:2026:
	// moved: true true
	// <nil>
}

// A plain store is encrypted while it is in use.
func ExampleSealed_Rewrite() {
	ctx := context.Background()
	below, err := memory.New(memory.Config{})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 450 {
		op := storage.Op{Key: fmt.Sprintf("/registry/secrets/%d", i), Value: []byte("plain: hunter2")}
		if _, err := below.Commit(ctx, storage.Txn{Then: []storage.Op{op}}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(stored(below, "/registry/secrets/7"))
	first := newKey("first")
	prefixes := []string{"/registry/secrets/"}
	sealed, err := seal.New(below, seal.Config{Rules: []seal.Rule{
		{Prefixes: prefixes, Providers: []seal.Provider{first, seal.Identity}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := sealed.Rewrite(ctx, func(p seal.Progress) { fmt.Println(p.Done, "of", p.Total) }); err != nil {
		log.Fatal(err)
	}
	fmt.Println(stored(below, "/registry/secrets/7"))
	err = sealed.SetRules(seal.Rule{Prefixes: prefixes, Providers: []seal.Provider{first}}) // nothing plain any more
	fmt.Println(err)
	// Output:
	// plain:
	// 0 of 450
	// 200 of 450
	// 400 of 450
	// 450 of 450
	// k8s:enc:bedplate-xaes256gcm:v1:first:
	// <nil>
}
