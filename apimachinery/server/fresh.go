package server

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// Fresh returns the objects of a resource that a filter selects, each of the view's Go type, with every write in it that this server has
// answered; those of other servers come as soon as the store tells of them. It asks nobody, and waits only while the
// cache hasn't seen this server's own last write. The objects are shared: they must not be changed.
func (s *Server) Fresh(ctx context.Context, gvr schema.GroupVersionResource, of storage.Filter) ([]apimachinery.Object, error) {
	v, err := s.view(gvr)
	if err != nil {
		return nil, err
	}
	if v == nil || v.kind.table == nil {
		return nil, fmt.Errorf("there is no table of %v", gvr)
	}
	snap, err := v.kind.table.Snapshot(ctx, v.kind.recent(), false)
	if err != nil || snap.Len() == 0 {
		return nil, err
	}
	var all []apimachinery.Object
	for e := range snap.All(of, "") {
		o, err := v.object(e)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}
