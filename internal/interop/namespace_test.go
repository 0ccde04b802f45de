package interop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inside is set in the environment of the process that runs the tests, to the folder of the programs.
const inside = "BEDPLATE_INTEROP"

// again runs this program once more, in a network namespace of its own with nothing but lo, and returns its exit code. What
// clusters do to a machine's network happens there, and what other clusters have in /run/netns is out of sight.
// Without root the tests run where they are: those that need more than a control plane fail, and say so.
func again(dir string) int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"="+dir)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	}
	runtime.LockOSThread() // as the child dies with the thread that made it
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "run the tests in a network namespace:", err)
		return 1
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // it may have ended
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "the tests ended:", err)
		return 1
	}
	return 0
}

// settle furnishes the namespaces: lo is up, and /run/netns empty.
func settle() error {
	if os.Geteuid() != 0 {
		return nil
	}
	// What is unmounted elsewhere is so here too, but not the other way round.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make the mounts our own: %w", err)
	}
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("netns", netnsDir, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", netnsDir, err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, lo); err != nil {
		return fmt.Errorf("read the flags of lo: %w", err)
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

const netnsDir = "/run/netns"

// network is all that a cluster may change of a machine's network: links, addresses, routes, tables of nftables, sysctls,
// named namespaces, locks. A cluster that has ended has left it as it was.
func network(t *testing.T) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil // nor may a cluster
	}
	var found []string
	links, err := net.Interfaces()
	require.NoError(t, err)
	for _, l := range links {
		found = append(found, fmt.Sprintf("link %s mtu %d %s", l.Name, l.MTU, l.Flags))
		addrs, err := l.Addrs()
		require.NoError(t, err)
		for _, a := range addrs {
			found = append(found, "address "+l.Name+" "+a.String())
		}
	}
	for _, path := range []string{"ip_forward", "conf/all/accept_redirects", "conf/all/route_localnet"} {
		b, err := os.ReadFile("/proc/sys/net/ipv4/" + path)
		require.NoError(t, err)
		found = append(found, "sysctl "+path+" "+strings.TrimSpace(string(b)))
	}
	named, err := filepath.Glob(netnsDir + "/*")
	require.NoError(t, err)
	for _, f := range named {
		found = append(found, "file "+f)
	}
	found = slices.Concat(found, routes(t), tables(t))
	slices.Sort(found)
	return found
}

// routes lists those of all routing tables.
func routes(t *testing.T) (found []string) {
	t.Helper()
	b, err := syscall.NetlinkRIB(syscall.RTM_GETROUTE, syscall.AF_UNSPEC)
	require.NoError(t, err)
	messages, err := syscall.ParseNetlinkMessage(b)
	require.NoError(t, err)
	for _, m := range messages {
		if m.Header.Type != syscall.RTM_NEWROUTE {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		require.NoError(t, err)
		to := "default"
		var table, link uint32
		for _, a := range attrs {
			switch a.Attr.Type {
			case syscall.RTA_DST:
				addr, _ := netip.AddrFromSlice(a.Value)
				to = fmt.Sprintf("%s/%d", addr, m.Data[1])
			case syscall.RTA_TABLE:
				table = binary.NativeEndian.Uint32(a.Value)
			case syscall.RTA_OIF:
				link = binary.NativeEndian.Uint32(a.Value)
			}
		}
		found = append(found, fmt.Sprintf("route %s type %d table %d link %d", to, m.Data[7], table, link))
	}
	return found
}

// tables lists those of nftables.
func tables(t *testing.T) (found []string) {
	t.Helper()
	const newTable, getTable, name = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE, unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETTABLE, unix.NFTA_TABLE_NAME
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	require.NoError(t, err)
	defer unix.Close(s)
	ask := binary.NativeEndian.AppendUint32(nil, 20)
	ask = binary.NativeEndian.AppendUint16(ask, getTable)
	ask = binary.NativeEndian.AppendUint16(ask, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	ask = append(ask, make([]byte, 12)...) // sequence, port, and the header of netfilter: all families
	require.NoError(t, unix.Sendto(s, ask, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	b := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(s, b, 0)
		require.NoError(t, err)
		messages, err := syscall.ParseNetlinkMessage(b[:n])
		require.NoError(t, err)
		for _, m := range messages {
			switch m.Header.Type {
			case newTable:
				for rest := m.Data[4:]; len(rest) >= 4; {
					size := int(binary.NativeEndian.Uint16(rest))
					if binary.NativeEndian.Uint16(rest[2:]) == name {
						found = append(found, fmt.Sprintf("table %d %s", m.Data[0], strings.TrimRight(string(rest[4:size]), "\x00")))
					}
					rest = rest[min(len(rest), (size+3)&^3):]
				}
			case unix.NLMSG_DONE:
				return found
			case unix.NLMSG_ERROR:
				t.Fatalf("list the tables of nftables: %v", unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data))))
			}
		}
	}
}
