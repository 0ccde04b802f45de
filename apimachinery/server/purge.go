package server

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// Purge deletes every object of a resource, whether it is served or not, without asking for authorization or
// admission, and returns how many are left: those that wait for their finalizers. It is for a resource that ends.
func (s *Server) Purge(ctx context.Context, name schema.GroupResource) (left int, err error) {
	k, err := s.kindOf(name)
	if err != nil {
		return 0, fmt.Errorf("purge %s: %w", name, err)
	}
	if k.table == nil {
		return 0, nil
	}
	snap, err := k.table.Snapshot(ctx, 0, false)
	if err != nil {
		return 0, fmt.Errorf("purge %s: %w", name, err)
	}
	for e := range snap.All(storage.Filter{}, "") {
		gone, err := s.purge(ctx, k, e)
		if err != nil {
			return left, fmt.Errorf("purge %s: delete %s: %w", name, e.Key, err)
		}
		if !gone {
			left++
		}
	}
	return left, nil
}

func (s *Server) purge(ctx context.Context, k *kind, e *storage.Entry) (gone bool, err error) {
	namespace, name := splitKey(k, e.Key)
	v := k.storage()
	c := &call{s: s, v: v, k: k, now: metav1.Unix(s.now().Unix(), 0), r: &apimachinery.Request{
		Verb: apimachinery.VerbDelete, Resource: v.found.View.Resource(), Namespace: namespace, Name: name,
	}}
	for range s.c.Limits.Attempts {
		hub, err := k.hub(e)
		if err != nil {
			return false, err
		}
		if _, gone, err = c.markOrDelete(ctx, e, hub, &metav1.DeleteOptions{}); !errors.Is(err, errMoved) {
			return gone, err
		}
		if e, err = k.table.Get(ctx, e.Key, 0); errors.Is(err, storage.ErrNotFound) {
			return true, nil
		} else if err != nil {
			return false, err
		}
	}
	return false, nil
}
