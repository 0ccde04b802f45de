//go:build linux

package hosts

// Hook has f called at each step of Add and Remove.
func (h *Hosts) Hook(f func(step string) error) { h.hook = f }
