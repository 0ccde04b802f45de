//go:build linux

package netplug_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"

	"github.com/bedplate/bedplate/netplug"
)

// A network for the pods of a node that is a network namespace of its own.
func Example() {
	ctx := context.Background()
	node, pod := namespace(), namespace()
	defer node.end()
	defer pod.end()

	n, err := netplug.New(netplug.Config{Host: node.path, Ranges: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}})
	check(err)
	addrs, err := n.Attach(ctx, nil, "sandbox-1", pod.path)
	check(err)
	fmt.Println(addrs)
	check(n.Detach(ctx, "sandbox-1"))
	check(n.Remove(ctx))
	// Output: [10.244.1.2]
}

// What the host's other firewalls would do to pods, a line each.
func ExampleCheck() {
	node := namespace()
	defer node.end()
	findings, err := netplug.Check(netplug.Config{Host: node.path})
	check(err)
	for _, f := range findings {
		fmt.Println(f)
	}
	fmt.Println(len(findings), "findings")
	// Output: 0 findings
}

// space is a network namespace, held by a process that waits for the end of its input.
type space struct {
	path string
	end  func()
}

func namespace() space {
	cmd := exec.Command("unshare", "--net", "cat")
	in, err := cmd.StdinPipe()
	check(err)
	out, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	_, err = in.Write([]byte("ready\n"))
	check(err)
	_, err = out.Read(make([]byte, 6)) // it is there once it answers
	check(err)
	return space{fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid), func() { in.Close(); check(cmd.Wait()) }}
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
