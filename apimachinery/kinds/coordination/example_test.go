package coordination_test

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
)

// A lease that changes hands rewrites its fence; one that is renewed doesn't.
func Example() {
	leases := coordination.Leases()
	held := func(by string) *coordinationv1.Lease {
		l := &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr.To(by), LeaseDurationSeconds: ptr.To[int32](15)}}
		l.Namespace, l.Name = "kube-system", "leader"
		return l
	}
	fmt.Println(leases.Guards(held("a"), held("a")))
	fmt.Println(leases.Guards(held("b"), held("a")))
	wrong := held("b")
	wrong.Spec.LeaseDurationSeconds = ptr.To[int32](0)
	fmt.Println(leases.Validate(context.Background(), wrong, held("a")).ToAggregate())
	// Output:
	// []
	// [fences/kube-system/leader]
	// spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0
}
