//go:build linux

package netplug

import (
	"net/netip"
	"runtime"
	"testing"
	"unsafe"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestCheck(t *testing.T) {
	accept := expr.Any(&expr.Verdict{Kind: expr.VerdictAccept})
	reject := []expr.Any{&expr.Reject{Type: 2, Code: 1}}
	for name, x := range map[string]struct {
		table  string
		inet   bool
		chains []string // of which the first is hooked
		policy nftables.ChainPolicy
		rule   []expr.Any
		want   []string
	}{
		"nothing":   {policy: nftables.ChainPolicyAccept, table: "filter", chains: []string{"FORWARD"}},
		"plain":     {policy: nftables.ChainPolicyDrop, table: "filter", chains: []string{"FORWARD"}, want: []string{"a firewall of the host drops what pods send (nftables table ip filter, chain FORWARD): iptables -I FORWARD -i bp-+ -j ACCEPT && iptables -I FORWARD -o bp-+ -j ACCEPT"}},
		"docker":    {policy: nftables.ChainPolicyDrop, table: "filter", chains: []string{"FORWARD", "DOCKER-USER"}, want: []string{"Docker drops what pods send (nftables table ip filter, chain FORWARD): iptables -I DOCKER-USER -i bp-+ -j ACCEPT && iptables -I DOCKER-USER -o bp-+ -j ACCEPT"}},
		"ufw":       {policy: nftables.ChainPolicyDrop, table: "filter", chains: []string{"FORWARD", "ufw-before-forward"}, want: []string{"ufw drops what pods send (nftables table ip filter, chain FORWARD): ufw route allow from 10.244.3.0/24 && ufw route allow to 10.244.3.0/24"}},
		"firewalld": {policy: nftables.ChainPolicyAccept, rule: reject, inet: true, table: "firewalld", chains: []string{"filter_FORWARD"}, want: []string{"firewalld drops what pods send (nftables table inet firewalld, chain filter_FORWARD): firewall-cmd --permanent --zone=trusted --add-source=10.244.3.0/24 && firewall-cmd --reload"}},
		"own":       {policy: nftables.ChainPolicyDrop, inet: true, table: "mine", chains: []string{"fwd"}, want: []string{`a firewall of the host drops what pods send (nftables table inet mine, chain fwd): nft insert rule inet mine fwd iifname '"bp-*"' accept && nft insert rule inet mine fwd oifname '"bp-*"' accept`}},
		"by link":   {policy: nftables.ChainPolicyDrop, table: "filter", chains: []string{"FORWARD"}, rule: rule(fromLinks("bp-"), []expr.Any{accept})},
		"by range":  {policy: nftables.ChainPolicyDrop, table: "filter", chains: []string{"FORWARD"}, rule: []expr.Any{load(1, expr.PayloadBaseNetworkHeader, 12, 3), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{10, 244, 3}}, accept}},
		"elsewhere": {policy: nftables.ChainPolicyDrop, table: "filter", chains: []string{"FORWARD"}, rule: rule(fromLinks("docker0"), []expr.Any{accept}), want: []string{"a firewall of the host drops what pods send (nftables table ip filter, chain FORWARD): iptables -I FORWARD -i bp-+ -j ACCEPT && iptables -I FORWARD -o bp-+ -j ACCEPT"}},
	} {
		t.Run(name, func(t *testing.T) {
			host := newSpace(t)
			c, err := nftables.New(nftables.WithNetNSFd(int(host.Fd())))
			require.NoError(t, err)
			table := &nftables.Table{Name: x.table, Family: nftables.TableFamilyIPv4}
			if x.inet {
				table.Family = nftables.TableFamilyINet
			}
			c.AddTable(table)
			for n, name := range x.chains {
				ch := &nftables.Chain{Name: name, Table: table}
				if n == 0 {
					ch.Hooknum, ch.Type, ch.Priority, ch.Policy = nftables.ChainHookForward, nftables.ChainTypeFilter, nftables.ChainPriorityFilter, &x.policy
				}
				c.AddChain(ch)
				if n == 0 && x.rule != nil {
					c.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: x.rule})
				}
			}
			require.NoError(t, c.Flush())
			n := start(t, configOf(host, Routed)) // our own tables are no finding
			before := state(t, host)
			require.Equal(t, x.want, lines(t, host))
			require.Equal(t, before, state(t, host))
			require.NoError(t, n.Remove(t.Context()))
		})
	}
}

func lines(t *testing.T, host *space) (out []string) {
	t.Helper()
	found, err := Check(Config{Host: host.path(), Ranges: []netip.Prefix{podRange}})
	require.NoError(t, err)
	for _, f := range found {
		out = append(out, f.String())
	}
	return out
}

// The older iptables, made to drop by the call that its command makes.
func TestCheckLegacy(t *testing.T) {
	host := newSpace(t)
	require.Empty(t, lines(t, host))
	within(t, host, func() error { _, _, _, err := readLegacy("bp"); return err }) // asking makes the table
	require.Empty(t, lines(t, host))
	within(t, host, dropForward)
	require.Equal(t, []string{"a firewall of the host drops what pods send (legacy iptables, chain FORWARD): iptables-legacy -I FORWARD -i bp-+ -j ACCEPT && iptables-legacy -I FORWARD -o bp-+ -j ACCEPT"}, lines(t, host))
}

func TestScanLegacyRefusesDamage(t *testing.T) {
	_, _, _, err := scanLegacy(make([]byte, 200), 0, "bp")
	require.ErrorContains(t, err, "damaged")
}

// dropForward writes the filter table back with FORWARD's policy DROP.
func dropForward() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	info := iptInfo{}
	copy(info.Name[:], "filter")
	if err := getsockopt(fd, iptGetInfo, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unsafe.Sizeof(info))); err != nil {
		return err
	}
	b := make([]byte, entriesAt+int(info.Size))
	copy(b, "filter")
	*(*uint32)(unsafe.Pointer(&b[32])) = info.Size
	if err := getsockopt(fd, iptGetEntries, b); err != nil {
		return err
	}
	entries := b[entriesAt:]
	*(*int32)(unsafe.Pointer(&entries[int(info.Underflow[forwardHook])+entrySize+32])) = -1
	counters := make([]uint64, 2*info.Entries)
	// name, hooks, number of entries, size, hook entries, underflows, counters: another order than ipt_getinfo's.
	out := append([]byte{}, b[:32]...)
	u32 := func(v ...uint32) {
		for _, x := range v {
			out = append(out, unsafe.Slice((*byte)(unsafe.Pointer(&x)), 4)...)
		}
	}
	u32(info.Hooks, info.Entries, info.Size)
	u32(info.Entry[:]...)
	u32(info.Underflow[:]...)
	u32(info.Entries)
	where := uint64(uintptr(unsafe.Pointer(&counters[0])))
	out = append(out, unsafe.Slice((*byte)(unsafe.Pointer(&where)), 8)...)
	out = append(out, entries...)
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.IPPROTO_IP, 64, uintptr(unsafe.Pointer(&out[0])), uintptr(len(out)), 0)
	runtime.KeepAlive(counters)
	if errno != 0 {
		return errno
	}
	return nil
}
