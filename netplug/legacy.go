//go:build linux

package netplug

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the kernel says of its older tables: linux/netfilter_ipv4/ip_tables.h.
const (
	iptGetInfo    = 64 // IPT_SO_GET_INFO
	iptGetEntries = 65 // IPT_SO_GET_ENTRIES
	forwardHook   = 2  // NF_INET_FORWARD
	entrySize     = 112
	entriesAt     = 40      // of the first entry in ipt_get_entries
	tableMax      = 8 << 20 // bytes that are looked at
)

// iptInfo is ipt_getinfo.
type iptInfo struct {
	Name      [32]byte
	Hooks     uint32
	Entry     [5]uint32
	Underflow [5]uint32
	Entries   uint32
	Size      uint32
}

// checkLegacy looks at the filter table of the older iptables, if there is one. It must not be asked for otherwise,
// as asking makes it.
func checkLegacy(ns *os.File, c *Config) (out []Finding, err error) {
	err = inside(ns, func() error {
		names, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
		if errors.Is(err, os.ErrNotExist) || err == nil && !strings.Contains("\n"+string(names), "\nfilter\n") {
			return nil
		}
		if err != nil {
			return err
		}
		drops, accepts, chains, err := readLegacy(c.Prefix)
		if err != nil {
			return fmt.Errorf("read legacy iptables: %w", err)
		}
		if drops && !accepts {
			owner := ownerOf("filter", chains)
			out = []Finding{{fmt.Sprintf("%s drops what pods send (legacy iptables, chain FORWARD)", owner), remedyOf(owner, true, "iptables-legacy", nil, c)}}
		}
		return nil
	})
	return out, err
}

// readLegacy reads the filter table: whether FORWARD drops by its policy, and whether some rule accepts what comes by
// a link of the prefix.
func readLegacy(prefix string) (drops, accepts bool, chains []string, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return false, false, nil, err
	}
	defer unix.Close(fd)
	var info iptInfo
	copy(info.Name[:], "filter")
	b := make([]byte, binary.Size(info))
	copy(b, info.Name[:])
	if err := getsockopt(fd, iptGetInfo, b); err != nil {
		return false, false, nil, err
	}
	if _, err := binary.Decode(b, binary.NativeEndian, &info); err != nil {
		return false, false, nil, err
	}
	if info.Size > tableMax {
		return false, false, nil, fmt.Errorf("the table has %d bytes, which is more than is looked at", info.Size)
	}
	b = make([]byte, entriesAt+int(info.Size))
	copy(b, info.Name[:])
	binary.NativeEndian.PutUint32(b[32:], info.Size)
	if err := getsockopt(fd, iptGetEntries, b); err != nil {
		return false, false, nil, err
	}
	return scanLegacy(b[entriesAt:], int(info.Underflow[forwardHook]), prefix)
}

// scanLegacy walks over the entries; policy is where FORWARD's lies.
func scanLegacy(b []byte, policy int, prefix string) (drops, accepts bool, chains []string, err error) {
	for at := 0; at+entrySize <= len(b); {
		e := b[at:]
		target, next := int(binary.NativeEndian.Uint16(e[88:])), int(binary.NativeEndian.Uint16(e[90:]))
		if next < entrySize || next > len(e) || target < entrySize || target+36 > next {
			return false, false, nil, errors.New("an entry of the table is damaged")
		}
		name := cString(e[target+2 : target+31])
		verdict := int32(binary.NativeEndian.Uint32(e[target+32:]))
		switch {
		case name == "ERROR":
			chains = append(chains, cString(e[target+32:next]))
		case at == policy && name == "":
			drops = verdict == -1 // NF_DROP
		case name == "" && verdict == -2 && strings.HasPrefix(cString(e[16:32]), prefix+"-"):
			accepts = true
		}
		at += next
	}
	return drops, accepts, chains, nil
}

func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

func getsockopt(fd, option int, b []byte) error {
	size := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_IP, uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
