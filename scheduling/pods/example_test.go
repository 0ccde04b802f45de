package pods_test

import (
	"context"
	"fmt"

	"github.com/bedplate/bedplate/scheduling"
	"github.com/bedplate/bedplate/scheduling/pods"
	corev1 "k8s.io/api/core/v1"
)

// Where would a pod go, and why not elsewhere? The Kubernetes plugins, and one
// rule of one's own beside them.
func Example() {
	quiet := scheduling.PerHost("quiet", func(p *corev1.Pod, n *corev1.Node, on []*corev1.Pod) scheduling.Verdict {
		if p.Labels["noise"] == "none" && len(on) > 0 {
			return scheduling.Verdict{No: "node(s) were noisy"}
		}
		return scheduling.Verdict{}
	}, nil)
	engine, err := pods.NewEngine(append(pods.Default(), quiet)...)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range []*corev1.Node{
		node("big", offers("cpu", "8", "memory", "8Gi", "pods", "110")),
		node("small", offers("cpu", "1", "memory", "1Gi", "pods", "110")),
		node("reserved", tainted("dedicated", "db", corev1.TaintEffectNoSchedule)),
	} {
		engine.SetHost(n.Name, n)
	}
	web := pod("web", requests("cpu", "2", "memory", "1Gi"))
	host, err := engine.Schedule(context.Background(), web)
	fmt.Println(host, err)
	engine.Place(web, host, false)

	db := pod("db", requests("cpu", "2", "memory", "1Gi"), func(p *corev1.Pod) { p.Labels = map[string]string{"noise": "none"} })
	_, err = engine.Schedule(context.Background(), db)
	fmt.Println(pods.Message(err))
	// Output:
	// big <nil>
	// 0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were noisy.
}
