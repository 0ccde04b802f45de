//go:build linux

package netplug

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A pod sends only as itself: with its own source, and on a bridge with its own MAC address, in ARP too (FAILURES of
// its class: CVE-2020-10749). What it sends properly comes after the forgeries on the same way, so once that is there
// nothing else can come; and without the guard the forgeries do.
func TestSpoofing(t *testing.T) {
	inModes(t, func(t *testing.T, mode Mode) {
		host, outside := newHost(t)
		n := start(t, configOf(host, mode))
		a, addrA := attach(t, n, "a")
		b, addrB := attach(t, n, "b")
		forged := []net.IP{addrB.AsSlice(), net.IPv4(10, 244, 3, 99), net.IPv4(8, 8, 8, 8), net.ParseIP(hostAddr), net.ParseIP(outsideAddr), net.IPv4(127, 0, 0, 1)}
		next := routerMAC(t, host, mode)

		fromA := listenUDP(t, outside)
		for _, src := range forged {
			sendRaw(t, a, src, net.ParseIP(outsideAddr), next, "eth0")
		}
		sendRaw(t, a, addrA.AsSlice(), net.ParseIP(outsideAddr), next, "eth0")
		require.Equal(t, addrA.String(), receive(t, fromA))

		if mode == Bridge {
			fromA = listenUDP(t, b)
			peer := podMAC(addrB)
			for _, src := range forged[1:3] {
				sendRaw(t, a, src, addrB.AsSlice(), peer, "eth0")
			}
			sendFrame(t, a, packet(addrA.AsSlice(), addrB.AsSlice()), podMAC(netip.MustParseAddr("10.9.9.9")), peer, unix.ETH_P_IP, "eth0")
			sendRaw(t, a, addrA.AsSlice(), addrB.AsSlice(), peer, "eth0")
			require.Equal(t, addrA.String(), receive(t, fromA))
			testForgedARP(t, host, a, addrA)
			dropGuard(t, host, nftables.TableFamilyBridge)
		}
		dropGuard(t, host, nftables.TableFamilyINet)
		fromA = listenUDP(t, outside)
		sendRaw(t, a, forged[1], net.ParseIP(outsideAddr), next, "eth0")
		require.Equal(t, forged[1].String(), receive(t, fromA))
	})
}

// testForgedARP has a pod claim the address of another, which nobody believes.
func testForgedARP(t *testing.T, host, a *space, own netip.Addr) {
	other := netip.MustParseAddr("10.244.3.77")
	for _, claim := range []netip.Addr{other, own} {
		b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
		b = append(append(b, podMAC(own)...), claim.AsSlice()...)
		b = append(append(b, make([]byte, 6)...), gatewayOf(podRange).AsSlice()...)
		sendFrame(t, a, b, podMAC(own), net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, unix.ETH_P_ARP, "eth0")
	}
	br, err := host.h.LinkByName("bpbr")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		list, err := host.h.NeighList(br.Attrs().Index, unix.AF_INET)
		require.NoError(t, err)
		known := false
		for _, n := range list {
			require.NotEqual(t, other.String(), n.IP.String())
			known = known || n.IP.String() == own.String()
		}
		return known
	}, 30*time.Second, 5*time.Millisecond)
}

func routerMAC(t *testing.T, host *space, mode Mode) net.HardwareAddr {
	if mode == Routed {
		return hostMAC()
	}
	return linkMAC(t, host, "bpbr")
}

func linkMAC(t *testing.T, s *space, name string) net.HardwareAddr {
	t.Helper()
	l, err := s.h.LinkByName(name)
	require.NoError(t, err)
	return l.Attrs().HardwareAddr
}

const probePort = 4444

func listenUDP(t *testing.T, s *space) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	within(t, s, func() (err error) { c, err = net.ListenUDP("udp4", &net.UDPAddr{Port: probePort}); return err })
	t.Cleanup(func() { c.Close() })
	return c
}

// receive returns the source that the first packet says in its text, as the header's is masqueraded.
func receive(t *testing.T, c *net.UDPConn) string {
	t.Helper()
	defer c.Close()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(30*time.Second)))
	b := make([]byte, 100)
	n, _, err := c.ReadFrom(b)
	require.NoError(t, err)
	return string(b[:n])
}

// packet is a UDP packet whose text is its source.
func packet(src, dst net.IP) []byte { return packetOf(src, dst, src.String()) }

func packetOf(src, dst net.IP, text string) []byte {
	b := make([]byte, 28, 28+len(text))
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(text)))
	copy(b[12:], src.To4())
	copy(b[16:], dst.To4())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(b[20:], 5555)
	binary.BigEndian.PutUint16(b[22:], probePort)
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(text)))
	return append(b, text...)
}

func sendRaw(t *testing.T, s *space, src, dst net.IP, to net.HardwareAddr, link string) {
	t.Helper()
	sendFrame(t, s, packet(src, dst), linkMAC(t, s, link), to, unix.ETH_P_IP, link)
}

func sendFrame(t *testing.T, s *space, payload []byte, from, to net.HardwareAddr, proto uint16, link string) {
	t.Helper()
	l, err := s.h.LinkByName(link)
	require.NoError(t, err)
	frame := append(append(append([]byte{}, to...), from...), byte(proto>>8), byte(proto))
	within(t, s, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		return errors.Join(unix.Sendto(fd, append(frame, payload...), 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}), unix.Close(fd))
	})
}
