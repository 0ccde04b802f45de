//go:build linux

package hosts_test

import (
	"fmt"
	"net/netip"

	"github.com/bedplate/bedplate/netplug/hosts"
)

// Three hosts on one machine, for three nodes. It needs root.
func Example() {
	h, err := hosts.Open(hosts.Config{Name: "blue", Range: netip.MustParsePrefix("10.99.0.0/24")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Remove()
	for n := 2; n <= 3; n++ {
		host, err := h.Add(n)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(host.Address, "is in", host.Namespace) // 10.99.0.2 is in /run/netns/blue-2
	}
}
