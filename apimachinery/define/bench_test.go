package define_test

import "testing"

// BenchmarkResource is the declaration of a kind with a rule.
func BenchmarkResource(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if res := websiteKind().Resource(); res.Fault != nil {
			b.Fatal(res.Fault)
		}
	}
}
