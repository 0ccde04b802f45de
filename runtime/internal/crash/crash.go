// Package crash marks the instructions after which a process may die, so that tests
// can make it die there and look at what is left. Outside tests it does nothing.
package crash

import "sync/atomic"

// hook is set by test binaries alone: a crash must be possible in processes that no
// test function runs in.
var hook atomic.Pointer[func(step string)]

// Set installs the hook. Only a TestMain calls it, before anything else.
func Set(f func(step string)) { hook.Store(&f) }

// At tells that step was just reached.
func At(step string) {
	if f := hook.Load(); f != nil {
		(*f)(step)
	}
}
