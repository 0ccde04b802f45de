package bedplate

import (
	"context"
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

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

// adminAccess implements kinds/resource.Config.AdminAccess. It looks at the namespace as it is now, not at the cache: who
// just took the label away means it.
func (l *lookup) adminAccess(ctx context.Context, namespace string) (bool, error) {
	gvr := resourceV1("namespaces")
	table, ok := l.server.Table(gvr.GroupResource())
	if !ok {
		return false, apierrors.NewNotFound(gvr.GroupResource(), namespace)
	}
	e, err := table.Get(ctx, apimachinery.Key("", namespace), 0)
	if err != nil {
		return false, err
	}
	o, err := l.server.Object(gvr, e)
	if err != nil {
		return false, err
	}
	return o.GetLabels()[resourcev1.DRAAdminNamespaceLabelKey] == "true", nil
}
