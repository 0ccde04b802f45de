//go:build linux

package node

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/netplug"
	"github.com/bedplate/bedplate/netplug/overlay"
)

// TestTraffic is all that pods of two nodes do with each other, with services, with names and with the API.
func TestTraffic(t *testing.T) {
	k := newCluster(t, bedplate.Config{Dir: t.TempDir()}, nil, 1, 2)
	host := func(n int) string { return k.nodes[n].host.Namespace }
	k.run("web-1", 1, served(spec(web)))
	k.run("web-2", 2, served(spec(web, corev1.ContainerPort{ContainerPort: 8080, HostPort: 18080})))
	k.run("lone", 2, served(spec(web)))
	service := k.expose("web", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort })
	lone := k.expose("lone")
	one, two, alone := k.up("web-1"), k.up("web-2"), k.up("lone")
	k.addresses("web", exactly(one, two))
	k.addresses("lone", exactly(alone))

	t.Run("pods reach each other", func(t *testing.T) {
		for _, from := range []*corev1.Pod{one, two} {
			for _, to := range []*corev1.Pod{one, two, alone} {
				k.sees(k.spaceOf(from), "http://"+to.Status.PodIP+":8080", to.Name)
			}
		}
		for _, n := range []int{1, 2} { // and the hosts reach them
			k.sees(host(n), "http://"+one.Status.PodIP+":8080", "web-1")
			k.sees(host(n), "http://"+two.Status.PodIP+":8080", "web-2")
		}
	})
	t.Run("a service is spread over its pods", func(t *testing.T) {
		for _, space := range []string{k.spaceOf(one), k.spaceOf(two), host(1), host(2)} {
			k.both(space, "http://"+service.Spec.ClusterIP)
		}
	})
	t.Run("a pod reaches itself through its service", func(t *testing.T) {
		k.sees(k.spaceOf(alone), "http://"+lone.Spec.ClusterIP, "lone")
	})
	t.Run("names", func(t *testing.T) {
		for _, from := range []*corev1.Pod{one, two} {
			require.Equal(t, "lone", k.says(from, "wget -qO- http://lone"))
			require.Equal(t, "lone", k.says(from, "wget -qO- http://lone.default.svc.cluster.local"))
			require.Contains(t, k.says(from, "nslookup lone.default.svc.cluster.local"), lone.Spec.ClusterIP)
			require.Contains(t, k.says(from, "nslookup "+lone.Spec.ClusterIP), "lone.default.svc.cluster.local")
			out, err := k.exec(from, "nslookup nothing.default.svc.cluster.local")
			require.Error(t, err)
			require.Contains(t, out, "NXDOMAIN")
		}
	})
	t.Run("host ports", func(t *testing.T) {
		at := fmt.Sprintf("http://%s:18080", k.nodes[2].host.Address)
		for _, space := range []string{host(1), k.spaceOf(one), k.spaceOf(two), host(2)} {
			k.sees(space, at, "web-2")
		}
		_, err := fetch(host(2), fmt.Sprintf("http://%s:18080", k.nodes[1].host.Address))
		require.ErrorContains(t, err, "refused")
	})
	t.Run("node ports", func(t *testing.T) {
		for _, n := range []int{1, 2} {
			for _, space := range []string{host(1), host(2), k.spaceOf(two)} {
				k.both(space, fmt.Sprintf("http://%s:%d", k.nodes[n].host.Address, service.Spec.Ports[0].NodePort))
			}
		}
	})
	t.Run("the API", func(t *testing.T) { k.askAPI(one, two) })
}

// both asks until both pods of the service web have answered.
func (k *cluster) both(space, url string) {
	k.Helper()
	seen := map[string]bool{}
	for range 200 { // fails by chance once in 2^199
		got, err := fetch(space, url)
		require.NoError(k, err, url)
		require.Contains(k, []string{"web-1", "web-2"}, got)
		if seen[got] = true; len(seen) == 2 {
			return
		}
	}
	require.FailNow(k, "only one pod of the service answers", "%s: %v", url, seen)
}

// askAPI lists pods from pods, with what is mounted into them.
func (k *cluster) askAPI(from ...*corev1.Pod) {
	_, err := client.For[*rbacv1.RoleBinding](k.c).Create(k.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "view"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "default"}},
	})
	require.NoError(k, err)
	const (
		dir  = "/var/run/secrets/kubernetes.io/serviceaccount/"
		path = "/api/v1/namespaces/default/pods"
	)
	for _, p := range from {
		require.Contains(k, k.says(p, "nslookup kubernetes.default.svc.cluster.local"), "10.96.0.1")
		// The service's certificate is good for its name, by the authority that is mounted.
		pool := x509.NewCertPool()
		require.True(k, pool.AppendCertsFromPEM([]byte(k.says(p, "cat "+dir+"ca.crt"))))
		b := browser(k.spaceOf(p))
		b.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, ServerName: "kubernetes.default", MinVersion: tls.VersionTLS12}
		q, err := http.NewRequestWithContext(k.Context(), "GET", k.says(p, "echo https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT")+path, nil)
		require.NoError(k, err)
		q.Header.Set("Authorization", "Bearer "+k.says(p, "cat "+dir+"token"))
		resp, err := b.Do(q)
		require.NoError(k, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(k, errors.Join(err, resp.Body.Close()))
		require.Equal(k, http.StatusOK, resp.StatusCode, string(body))
		require.Contains(k, string(body), `"name":"web-1"`)
	}
}

// TestOtherWays connects pods by VXLAN between nodes, and by a bridge on each.
func TestOtherWays(t *testing.T) {
	for name, edit := range map[string]func(*PodNetwork){
		"vxlan":  func(c *PodNetwork) { c.Between = overlay.VXLAN },
		"bridge": func(c *PodNetwork) { c.Mode = netplug.Bridge },
	} {
		t.Run(name, func(t *testing.T) {
			k := newCluster(t, bedplate.Config{}, func(c *Config) { edit(c.Pods) }, 2, 3)
			k.run("web-1", 2, served(spec(web)))
			k.run("web-2", 3, served(spec(web)))
			service := k.expose("web")
			one, two := k.up("web-1"), k.up("web-2")
			k.addresses("web", exactly(one, two))
			for _, from := range []*corev1.Pod{one, two} {
				for _, to := range []*corev1.Pod{one, two} {
					k.sees(k.spaceOf(from), "http://"+to.Status.PodIP+":8080", to.Name)
				}
				k.both(k.spaceOf(from), "http://"+service.Spec.ClusterIP)
				require.Contains(t, "web-1 web-2", k.says(from, "wget -qO- http://web"))
			}
			for _, to := range []*corev1.Pod{one, two} { // what is larger than a packet comes through
				k.says(to, "dd if=/dev/zero of=/tmp/www/big bs=1000 count=1000")
				require.Equal(t, "1000000", k.says(one, "wget -qO- http://"+to.Status.PodIP+":8080/big | wc -c"))
			}
		})
	}
}
