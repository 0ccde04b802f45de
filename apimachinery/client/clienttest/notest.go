package clienttest

import (
	"context"
	"fmt"
)

// Example stands in for the testing.TB that a runnable example doesn't have. What fails in it panics.
type Example struct{ cleanups []func() }

// NoTest returns a stand-in for a testing.TB; call End at the end.
func NoTest() *Example { return &Example{} }

// End runs the cleanups, the last one first.
func (e *Example) End() {
	for i := len(e.cleanups) - 1; i >= 0; i-- {
		e.cleanups[i]()
	}
}

// Errorf implements TB.
func (*Example) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// FailNow implements TB.
func (*Example) FailNow() { panic("the example failed") }

// Helper implements TB.
func (*Example) Helper() {}

// Context implements TB.
func (*Example) Context() context.Context { return context.Background() }

// Cleanup implements TB.
func (e *Example) Cleanup(f func()) { e.cleanups = append(e.cleanups, f) }
