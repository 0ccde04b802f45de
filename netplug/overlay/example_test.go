package overlay_test

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/netplug/overlay"
)

func ExamplePlan() {
	var nodes []*corev1.Node
	for name, at := range map[string][2]string{"red": {"192.168.0.1", "10.244.1.0/24"}, "blue": {"192.168.0.2", "10.244.2.0/24"}} {
		nodes = append(nodes, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.NodeSpec{PodCIDRs: []string{at[1]}},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: at[0]}}},
		})
	}
	for _, mode := range []overlay.Mode{overlay.Routes, overlay.VXLAN} {
		d := overlay.Plan("red", nodes, mode)
		fmt.Println(d.Own, d.Routes, len(d.Peers))
	}
	// Output:
	// [10.244.1.0/24] [{10.244.2.0/24 192.168.0.2}] 0
	// [10.244.1.0/24] [{10.244.2.0/24 10.244.2.0}] 1
}
