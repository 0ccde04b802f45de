package storetest_test

import (
	"testing"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
	"github.com/bedplate/bedplate/storage/storetest"
)

// A backend's own test is this.
func Example() {
	_ = func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storage.Backend {
			b, err := memory.New(memory.Config{})
			if err != nil {
				t.Fatal(err)
			}
			return b
		})
	}
	// Output:
}
