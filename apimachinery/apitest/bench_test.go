package apitest_test

import (
	"testing"

	"github.com/bedplate/bedplate/apimachinery/apitest"
)

// BenchmarkStart is an API from nothing to ready, and its end.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		api, err := apitest.Open(b.Context(), apitest.Config{})
		if err != nil {
			b.Fatal(err)
		}
		if err := api.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
