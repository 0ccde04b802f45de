//go:build linux

package hosts_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/bedplate/bedplate/netplug/hosts"
)

// twins are the configs of two machines that share /run/netns, for hosts of the same name.
func twins(t *testing.T) (a, b hosts.Config) {
	a = hosts.Config{Name: unique(), Range: netip.MustParsePrefix("10.99.7.0/24"), Machine: machine(t)}
	b = a
	b.Machine = machine(t)
	return a, b
}

// works requires that host 2 reaches its machine.
func works(t *testing.T, h *hosts.Hosts, c hosts.Config, host hosts.Host) {
	t.Helper()
	require.Equal(t, host.Address.String(), ask(t, host.Namespace, serve(t, c.Machine, h.Machine().Address)))
}

// TestTwoMachines: hosts of the same name in two network namespaces do not take each other's, nor remove them.
func TestTwoMachines(t *testing.T) {
	a, b := twins(t)
	ha, hb := open(t, a), open(t, b) // neither has a host yet
	two, err := ha.Add(2)
	require.NoError(t, err)
	_, err = hb.Add(2)
	require.ErrorContains(t, err, "add host 2: the network namespace /run/netns/"+b.Name+"-2 is not of these hosts")
	three, err := hb.Add(3)
	require.NoError(t, err)
	_, err = ha.Add(3)
	require.ErrorContains(t, err, "choose another name")
	works(t, ha, a, two)
	works(t, hb, b, three)

	require.NoError(t, hb.Remove())
	require.Equal(t, []string{b.Name + "-2"}, left(t, b.Machine, b.Name))
	works(t, ha, a, two)
	_, err = hosts.Open(b)
	require.ErrorContains(t, err, "is not of these hosts")
	ha.Close() // whether its process lives is no matter
	_, err = hosts.Open(b)
	require.ErrorContains(t, err, "is not of these hosts")
	require.Equal(t, []string{b.Name + "-2"}, left(t, b.Machine, b.Name), "what is refused makes nothing")
	ha = open(t, a)
	again, err := ha.Add(2)
	require.NoError(t, err)
	works(t, ha, a, again)
	require.NoError(t, ha.Remove())
	require.NoError(t, open(t, b).Remove())
	require.Empty(t, left(t, a.Machine, a.Name))
	require.Empty(t, left(t, b.Machine, b.Name))
}

// TestNamesOfOthers: a name that only begins like a host's is let be, and so is a namespace that somebody made by hand.
func TestNamesOfOthers(t *testing.T) {
	a, b := twins(t)
	b.Name += "-2"
	ha, hb := open(t, a), open(t, b)
	three, err := hb.Add(3)
	require.NoError(t, err)
	_, err = ha.Add(3)
	require.NoError(t, err)

	byHand := a.Name + "-4"
	do(t, "", func() error {
		ns, err := netns.NewNamed(byHand)
		if err == nil {
			ns.Close()
		}
		return err
	})
	_, err = ha.Add(4)
	require.ErrorContains(t, err, "is not of these hosts")
	require.NoError(t, ha.Remove())
	works(t, hb, b, three)
	_, err = hosts.Open(a)
	require.ErrorContains(t, err, byHand+" is not of these hosts")
	require.NoError(t, netns.DeleteNamed(byHand))

	do(t, a.Machine, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = a.Name + "-5"
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	})
	ha = open(t, a)
	_, err = ha.Add(5)
	require.ErrorContains(t, err, a.Name+"-5 is a link of another kind or bridge already")
	require.NoError(t, ha.Remove())
	require.Equal(t, []string{a.Name + "-5", b.Name + "-3"}, left(t, a.Machine, a.Name))
	require.NoError(t, hb.Remove())
}

// TestMachineGone: hosts that outlive their machine are anybody's.
func TestMachineGone(t *testing.T) {
	name := unique() + "g"
	do(t, "", func() error {
		ns, err := netns.NewNamed(name)
		if err == nil {
			ns.Close()
		}
		return err
	})
	a, b := twins(t)
	a.Machine = filepath.Join("/run/netns", name)
	h := open(t, a)
	for n := 2; n <= 3; n++ {
		_, err := h.Add(n)
		require.NoError(t, err)
	}
	h.Close()
	require.NoError(t, netns.DeleteNamed(name))
	require.Eventually(t, func() (gone bool) { // the kernel removes the links some time later
		hb, err := hosts.Open(b)
		if err == nil {
			h = hb
		}
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	two, err := h.Add(2)
	require.NoError(t, err)
	works(t, h, b, two)
	require.NoError(t, h.Remove())
	require.Empty(t, left(t, b.Machine, b.Name))
}

var errExit = errors.New("the process ends here")

// exitAt has the n-th step from now end the process, as it were: nothing else is done.
func exitAt(h *hosts.Hosts, at int, end func() error) {
	h.Hook(func(string) error {
		if at--; at == 0 {
			return end()
		}
		return nil
	})
}

// hang leaves a new namespace open, as a process in it would.
func hang() error { runtime.Goexit(); return nil }

// drop closes it, so that the kernel removes it some time later.
func drop() error { return errExit }

// exits calls f on a goroutine that may end early, and says whether it did.
func exits(f func() error) (early bool, err error) {
	done := make(chan error, 1)
	go func() {
		defer close(done)
		done <- f()
	}()
	err, whole := <-done
	return !whole, err
}

// TestExitAtEveryStep: the process ends at each step of Add and of Remove. The next one completes what was begun, or
// removes all that there is; another machine's hosts do neither.
func TestExitAtEveryStep(t *testing.T) {
	a, b := twins(t)
	add := func(h *hosts.Hosts) error { _, err := h.Add(2); return err }
	for _, do := range []struct {
		what string
		act  func(h *hosts.Hosts) error
		end  func() error
	}{{"add", add, drop}, {"add and hang", add, hang}, {"remove", (*hosts.Hosts).Remove, hang}} {
		t.Run(do.what, func(t *testing.T) {
			early := true
			for at := 1; early; at++ {
				for _, next := range []string{"add", "remove", "other"} {
					h := open(t, a)
					if do.what == "remove" {
						for n := 2; n <= 3; n++ {
							_, err := h.Add(n)
							require.NoError(t, err)
						}
					}
					exitAt(h, at, do.end)
					var err error
					early, err = exits(func() error { return do.act(h) })
					require.True(t, err == nil || errors.Is(err, errExit), err)
					early = early || err != nil
					if early || do.what != "remove" {
						h.Close()
					}
					goOn(t, a, b, next)
				}
				require.True(t, early || at > 4, at)
			}
		})
	}
}

// goOn has the next process do what it does, and then remove everything.
func goOn(t *testing.T, a, b hosts.Config, next string) {
	t.Helper()
	switch next {
	case "add":
		h := open(t, a)
		two, err := h.Add(2)
		require.NoError(t, err)
		works(t, h, a, two)
		h.Close()
	case "other":
		before := left(t, a.Machine, a.Name)
		h, err := hosts.Open(b)
		if err == nil {
			err = h.Remove()
		}
		if err != nil { // which the names of a's hosts are reason for
			require.ErrorContains(t, err, "is not of these hosts")
			require.Equal(t, before, left(t, a.Machine, a.Name))
		}
	}
	require.NoError(t, open(t, a).Remove())
	require.Empty(t, left(t, a.Machine, a.Name))
	require.Empty(t, left(t, b.Machine, b.Name))
}

// TestFileWithoutNamespace: a name with nothing behind it is removed.
func TestFileWithoutNamespace(t *testing.T) {
	c := hosts.Config{Name: unique(), Range: netip.MustParsePrefix("10.99.7.0/28"), Machine: machine(t)}
	h := open(t, c)
	require.NoError(t, os.WriteFile(filepath.Join("/run/netns", c.Name+"-7"), nil, 0o600))
	require.NoError(t, h.Remove())
	require.Empty(t, left(t, c.Machine, c.Name))
}
