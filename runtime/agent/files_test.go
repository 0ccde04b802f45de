package agent

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/image"
)

func TestConfig(t *testing.T) {
	good := Config{NodeName: "n", Client: &client.Client{}, Runtime: &runtime.Runtime{}, Images: &image.Store{}, Dir: "/d"}
	require.NoError(t, good.validate())
	for words, edit := range map[string]func(*Config){
		"must be set":           func(c *Config) { c.Client = nil },
		`node name "A_b"`:       func(c *Config) { c.NodeName = "A_b" },
		"is not absolute":       func(c *Config) { c.Dir = "d" },
		"may not be negative":   func(c *Config) { c.Starts = -1 },
		"TLS without Callers":   func(c *Config) { c.TLS = &tls.Config{ClientCAs: x509.NewCertPool()} },
		"TLS without ClientCAs": func(c *Config) { c.TLS, c.Callers = &tls.Config{}, []string{"a"} },
		"configure node agent":  func(c *Config) { c.NodeName = "" },
	} {
		c := good
		edit(&c)
		_, err := New(c)
		require.ErrorContains(t, err, words)
	}
}

func TestResolvConf(t *testing.T) {
	own, err := os.ReadFile("/etc/resolv.conf")
	require.NoError(t, err)
	cluster := Config{DNS: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, Domain: "cluster.local"}
	const clustered = "nameserver 10.96.0.10\nsearch ns.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
	for name, c := range map[string]struct {
		config Config
		spec   corev1.PodSpec
		want   string
	}{
		"cluster first":           {cluster, corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst}, clustered},
		"without a cluster's":     {Config{}, corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst}, string(own)},
		"on the host's network":   {cluster, corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, HostNetwork: true}, string(own)},
		"and yet the cluster's":   {cluster, corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirstWithHostNet, HostNetwork: true}, clustered},
		"the machine's":           {cluster, corev1.PodSpec{DNSPolicy: corev1.DNSDefault}, string(own)},
		"none but what is listed": {cluster, corev1.PodSpec{DNSPolicy: corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1"}, Searches: []string{"a.example"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: ptr.To("2")}, {Name: "debug"}}}}, "nameserver 192.0.2.1\nsearch a.example\noptions ndots:2 debug\n"},
	} {
		got, err := (&Agent{c: c.config}).resolvConf(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: c.spec})
		require.NoError(t, err)
		require.Equal(t, c.want, got, name)
	}
}

func TestHostsFile(t *testing.T) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{HostAliases: []corev1.HostAlias{{IP: "192.0.2.9", Hostnames: []string{"a", "b"}}}}}
	got, err := hostsFile(p, []netip.Addr{netip.MustParseAddr("10.0.0.1")}, "cluster.local")
	require.NoError(t, err)
	require.Contains(t, got, "127.0.0.1\tlocalhost\n")
	require.Contains(t, got, "10.0.0.1\tweb\n192.0.2.9\ta\tb\n")
	p.Namespace, p.Spec.Subdomain = "team", "db"
	got, err = hostsFile(p, []netip.Addr{netip.MustParseAddr("10.0.0.1")}, "cluster.local")
	require.NoError(t, err)
	require.Contains(t, got, "10.0.0.1\tweb.db.team.svc.cluster.local\tweb\n")
	own, err := os.ReadFile("/etc/hosts")
	require.NoError(t, err)
	p.Spec.HostNetwork = true
	got, err = hostsFile(p, nil, "cluster.local")
	require.NoError(t, err)
	require.Equal(t, string(own)+"192.0.2.9\ta\tb\n", got)
}
