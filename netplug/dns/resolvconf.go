package dns

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// HostUpstreams are the resolvers that the host itself uses: the nameservers of /etc/resolv.conf. Where these are on
// the loopback device alone, it is a stub that runs on this machine (systemd-resolved's is 127.0.0.53), and the
// resolvers behind it are taken from /run/systemd/resolve/resolv.conf if that has others. A host without either file
// has none.
func HostUpstreams() ([]netip.AddrPort, error) {
	return upstreamsOf("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
}

func upstreamsOf(conf, behind string) ([]netip.AddrPort, error) {
	found, err := readConf(conf)
	if err != nil {
		return nil, fmt.Errorf("read the host's resolvers: %w", err)
	}
	if slices.ContainsFunc(found, func(a netip.AddrPort) bool { return !a.Addr().IsLoopback() }) {
		return found, nil
	}
	better, err := readConf(behind)
	if err != nil {
		return nil, fmt.Errorf("read the host's resolvers: %w", err)
	}
	if len(better) > 0 {
		return better, nil
	}
	return found, nil
}

func readConf(path string) ([]netip.AddrPort, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ParseResolvConf(f)
}

// ParseResolvConf reads the nameservers of a file as resolv.conf(5) describes it, with port 53. Lines that it doesn't
// know it skips, as resolvers do; of a file it reads 64 KiB.
func ParseResolvConf(r io.Reader) (out []netip.AddrPort, err error) {
	lines := bufio.NewScanner(io.LimitReader(r, 64<<10))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			out = append(out, netip.AddrPortFrom(a.Unmap(), 53))
		}
	}
	return out, lines.Err()
}
