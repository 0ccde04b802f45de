package bedplate

import (
	"context"
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	resourcev1 "k8s.io/api/resource/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// ensureFlow makes one of the objects of flow control that every cluster has; what is there stays as it is.
func ensureFlow(ctx context.Context, l *lookup, c *client.Client, o apimachinery.Object) error {
	switch o := o.(type) {
	case *flowcontrolv1.PriorityLevelConfiguration:
		return ensure(ctx, l, client.For[*flowcontrolv1.PriorityLevelConfiguration](c), o, nil)
	case *flowcontrolv1.FlowSchema:
		return ensure(ctx, l, client.For[*flowcontrolv1.FlowSchema](c), o, nil)
	}
	return fmt.Errorf("bootstrap flow control has a %T", o)
}

// adminAccess implements kinds/resource.Config.AdminAccess.
func (l *lookup) adminAccess(ctx context.Context, namespace string) (bool, error) {
	n, err := l.Namespace(ctx, namespace)
	return err == nil && n.Labels[resourcev1.DRAAdminNamespaceLabelKey] == "true", err
}
