//go:build linux

package netplug

import (
	"fmt"
	"os"
	"strings"
)

// What forwarding was like before it was switched on, as it is kept in the table's set "found".
const (
	foundMark      = 1 << 31 // it was looked at
	foundForward   = 1 << 0  // net.ipv4.ip_forward
	foundRedirects = 1 << 1  // net.ipv4.conf.all.accept_redirects, which the kernel changes with ip_forward
)

const (
	forwardPath   = "/proc/sys/net/ipv4/ip_forward"
	redirectsPath = "/proc/sys/net/ipv4/conf/all/accept_redirects"
)

// readForward reads, in the host's namespace, what switching on will change.
func readForward(ns *os.File) (found uint32, err error) {
	err = inside(ns, func() error {
		found = foundMark
		for path, bit := range map[string]uint32{forwardPath: foundForward, redirectsPath: foundRedirects} {
			b, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("read sysctl: %w", err)
			}
			if strings.TrimSpace(string(b)) != "0" {
				found |= bit
			}
		}
		return nil
	})
	return found, err
}

// switchForward switches forwarding on, if it is off.
func switchForward(ns *os.File) error {
	return inside(ns, func() error {
		if b, err := os.ReadFile(forwardPath); err == nil && strings.TrimSpace(string(b)) == "1" {
			return nil
		}
		return writeSysctl(forwardPath, true)
	})
}

// restoreForward puts back what was found.
func (n *Network) restoreForward(found uint32) error {
	if found&foundMark == 0 || found&foundForward != 0 {
		return nil
	}
	err := inside(n.ns, func() error {
		if err := writeSysctl(forwardPath, false); err != nil {
			return err
		}
		if err := n.at("remove: forward"); err != nil {
			return err
		}
		return writeSysctl(redirectsPath, found&foundRedirects != 0)
	})
	if err != nil {
		return err
	}
	return n.at("remove: sysctls")
}

func writeSysctl(path string, on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("write sysctl: %w", err)
	}
	return nil
}
