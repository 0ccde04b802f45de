package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/runtime/agent"
)

// awaitNode waits for the node to be as cond wants it.
func (n *node) awaitNode(cond func(*corev1.Node) bool) *corev1.Node {
	n.Helper()
	ctx, cancel := context.WithTimeout(n.Context(), patience)
	defer cancel()
	w, err := client.For[*corev1.Node](shared.admin).Watch(ctx, client.Fields("metadata.name="+n.Node), client.InitialEvents())
	require.NoError(n, err)
	for e, err := range w.All(ctx) {
		require.NoError(n, err)
		if e.Type != client.Bookmark && e.Type != client.Deleted && cond(e.Object) {
			return e.Object
		}
	}
	require.FailNow(n, "the node is not as it should be")
	return nil
}

func TestRegistration(t *testing.T) {
	t.Parallel()
	n := start(t, func(c *agent.Config) {
		c.Labels = map[string]string{"zone": "a"}
		c.Taints = []corev1.Taint{{Key: "busy", Effect: corev1.TaintEffectNoSchedule}}
		c.Capacity = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("7")}
	})
	nodes := client.For[*corev1.Node](shared.admin)
	have, err := nodes.Get(t.Context(), "", n.Node)
	require.NoError(t, err)
	require.Equal(t, "a", have.Labels["zone"])
	require.Equal(t, n.Node, have.Labels[corev1.LabelHostname])
	require.Equal(t, "linux", have.Labels[corev1.LabelOSStable])
	require.Equal(t, "busy", have.Spec.Taints[0].Key)
	require.EqualValues(t, 7, have.Status.Allocatable.Pods().Value())
	require.Positive(t, have.Status.Capacity.Cpu().Value())
	require.Greater(t, have.Status.Capacity.Memory().Value(), int64(1<<20))
	require.Equal(t, []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}, {Type: corev1.NodeHostName, Address: n.Node}}, have.Status.Addresses)
	require.NotZero(t, have.Status.DaemonEndpoints.KubeletEndpoint.Port)
	require.NotEmpty(t, have.Status.NodeInfo.KernelVersion)
	conditions := map[corev1.NodeConditionType]corev1.ConditionStatus{}
	for _, c := range have.Status.Conditions {
		conditions[c.Type] = c.Status
	}
	require.Equal(t, corev1.ConditionTrue, conditions[corev1.NodeReady])
	for _, pressure := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		require.Contains(t, conditions, pressure)
	}

	// The lease is renewed.
	renewals := map[string]bool{}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, err := client.For[*coordinationv1.Lease](shared.admin).Watch(ctx, client.InNamespace(agent.LeaseNamespace), client.Fields("metadata.name="+n.Node), client.InitialEvents())
	require.NoError(t, err)
	for e, err := range w.All(ctx) {
		require.NoError(t, err)
		if e.Type == client.Bookmark {
			continue
		}
		require.Equal(t, n.Node, *e.Object.Spec.HolderIdentity)
		if renewals[e.Object.Spec.RenewTime.String()] = true; len(renewals) > 2 {
			break
		}
	}

	// What others write stays, and what the agent knows better comes back.
	_, err = nodes.PatchStatus(t.Context(), "", n.Node, types.StrategicMergePatchType,
		[]byte(`{"status":{"conditions":[{"type":"Fed","status":"True"}],"capacity":{"pods":"1"},"addresses":[{"type":"ExternalIP","address":"192.0.2.1"}]}}`))
	require.NoError(t, err)
	n.awaitNode(func(have *corev1.Node) bool {
		return have.Status.Capacity.Pods().Value() == 7 && len(have.Status.Addresses) == 2 && len(have.Status.Conditions) == 5
	})

	// A node that was deleted comes back, and its pods go on.
	p := n.run("web", idle, func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} })
	p = n.until("web", ready)
	require.NoError(t, nodes.Delete(t.Context(), "", n.Node))
	again := n.awaitNode(func(have *corev1.Node) bool { return have.UID != "" && len(have.Status.Conditions) > 0 })
	require.NotEqual(t, have.UID, again.UID)
	require.Equal(t, "a", again.Labels["zone"])
	require.Equal(t, status(p, "c").ContainerID, status(n.until("web", ready), "c").ContainerID)

	// Another agent takes the node over, with its labels; its taints are somebody's business by now.
	n.stopAgent()
	n.startAgent(func(c *agent.Config) { c.Labels = map[string]string{"zone": "b"} })
	third := n.awaitNode(func(have *corev1.Node) bool { return have.Labels["zone"] == "b" })
	require.Equal(t, again.UID, third.UID)
	require.Len(t, third.Spec.Taints, 1)
	require.Equal(t, status(p, "c").ContainerID, status(n.until("web", ready), "c").ContainerID)
}

// TestNodeAPI: nobody but the API server is answered, whatever the control plane has certified.
func TestNodeAPI(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.run("web", idle)
	n.until("web", ready)
	have, err := client.For[*corev1.Node](shared.admin).Get(t.Context(), "", n.Node)
	require.NoError(t, err)
	ask := func(c *http.Client, path string) (*http.Response, error) {
		own := c.Transport.(*http.Transport).Clone()
		own.TLSClientConfig.ServerName, own.DisableKeepAlives = n.Node, true
		return (&http.Client{Transport: own}).Get("https://" + address(have) + path)
	}
	nobody := kubectl(t, "nobody")
	nobody.Transport.(*http.Transport).TLSClientConfig.Certificates = nil
	for _, path := range []string{"/pods", "/healthz", "/containerLogs/" + n.Node + "/web/c", "/exec/" + n.Node + "/web/c?command=id&output=1"} {
		for _, c := range []*http.Client{admin(t), kubectl(t, "system:node:other", "system:nodes")} {
			res, err := ask(c, path)
			require.NoError(t, err)
			res.Body.Close()
			require.Equal(t, http.StatusForbidden, res.StatusCode)
		}
		_, err = ask(nobody, path)
		require.Error(t, err, "without a certificate there is no connection")
	}
	res, err := ask(kubectl(t, "kube-apiserver-kubelet-client"), "/pods")
	require.NoError(t, err)
	defer res.Body.Close()
	var list corev1.PodList
	require.NoError(t, json.NewDecoder(res.Body).Decode(&list))
	require.Len(t, list.Items, 1)
}

func address(n *corev1.Node) string {
	return net.JoinHostPort(n.Status.Addresses[0].Address, fmt.Sprint(n.Status.DaemonEndpoints.KubeletEndpoint.Port))
}
