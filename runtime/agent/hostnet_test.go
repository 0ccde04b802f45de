//go:build linux

package agent_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bedplate/bedplate/runtime/agent"
	"github.com/bedplate/bedplate/runtime/internal/nspin"
)

// TestHostNetworkElsewhere: a node whose host is a network namespace of its own has its API, its pods on the host's
// network and their probes there.
func TestHostNetworkElsewhere(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, nspin.Create(dir, nspin.Spec{Net: true}))
	t.Cleanup(func() { require.NoError(t, nspin.Remove(dir)) })
	host := filepath.Join(dir, nspin.Net)
	n := newNode(t)
	n.open()
	n.startAgent(func(c *agent.Config) {
		c.HostNetwork, c.Addresses = host, []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		c.Listen = "127.0.0.1:10250" // it is free there
	})
	p := n.run("web", "readlink /proc/self/ns/net; trap 'exit 0' TERM; httpd -f -p 8099 & wait", func(p *corev1.Pod) {
		p.Spec.HostNetwork = true
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
			TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8099), Host: "localhost"},
		}}
	})
	p = n.until("web", func(p *corev1.Pod) bool { return status(p, "c").Ready })
	require.Equal(t, "127.0.0.1", p.Status.PodIP)
	own, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	says := n.text(p, "c", 0)
	require.Contains(t, says, "net:[")
	require.NotContains(t, says, strings.TrimSpace(own))
}
