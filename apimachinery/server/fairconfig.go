package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

const (
	// flowManager is the field manager of the conditions of FlowSchemas.
	flowManager = "api-priority-and-fairness-config-consumer-v1"
	// flowSettle is how long the configuration must be quiet before conditions are written.
	flowSettle = 200 * time.Millisecond
	// flowRetry is the time until a configuration that could not be read, or a condition that could not be written, is
	// tried again.
	flowRetry = 5 * time.Second
)

// ourselves is who the server is in its own eyes.
var ourselves = apimachinery.User{Name: "system:apiserver", Groups: []string{masters, authenticated}}

// followFlow keeps priority and fairness configured as the objects say, until ctx ends.
func (s *Server) followFlow(ctx context.Context) {
	changed := make(chan struct{}, 1)
	done := make(chan struct{}, 2)
	for _, gvr := range []schema.GroupVersionResource{flowSchemas, priorityLevels} {
		go func() {
			defer func() { done <- struct{}{} }()
			s.eachChange(ctx, gvr, func() {
				select {
				case changed <- struct{}{}:
				default:
				}
			})
		}()
	}
	defer func() { <-done; <-done }()
	again := time.NewTimer(flowRetry)
	defer again.Stop()
	var schemas []*flowcontrolv1.FlowSchema
	stale := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			stale = true
		case <-again.C:
		}
		wait := flowSettle
		switch {
		case stale:
			now, err := s.configureFlow(ctx)
			if stale = err != nil; !stale {
				schemas = now
			} else if wait = flowRetry; ctx.Err() == nil {
				s.c.Log.Error("flow control keeps the configuration that it has", "err", err)
			}
		case s.settleFlow(ctx, schemas):
			continue
		default:
			wait = flowRetry
		}
		again.Reset(wait)
	}
}

// eachChange calls a function at first, and whenever a table has changed.
func (s *Server) eachChange(ctx context.Context, gvr schema.GroupVersionResource, call func()) {
	for ctx.Err() == nil {
		err := s.changes(ctx, gvr, call)
		var tooOld *storage.TooOldError
		if ctx.Err() != nil || errors.As(err, &tooOld) {
			continue
		}
		s.c.Log.Warn("flow control is read again", "resource", gvr.Resource, "err", err)
		select {
		case <-time.After(flowRetry):
		case <-ctx.Done():
		}
	}
}

func (s *Server) changes(ctx context.Context, gvr schema.GroupVersionResource, call func()) error {
	t, ok := s.Table(gvr.GroupResource())
	if !ok {
		return fmt.Errorf("there is no table of %s", gvr.Resource)
	}
	snap, err := t.Snapshot(ctx, storage.Cached, false)
	if err != nil {
		return err
	}
	w, err := t.Watch(snap.Rev(), storage.Filter{})
	if err != nil {
		return err
	}
	defer w.Close()
	for err == nil {
		call()
		_, err = w.Next(ctx)
	}
	return err
}

// configureFlow reads the configuration and returns its schemas.
func (s *Server) configureFlow(ctx context.Context) ([]*flowcontrolv1.FlowSchema, error) {
	levels, err := objectsOf[*flowcontrolv1.PriorityLevelConfiguration](ctx, s, priorityLevels)
	if err != nil {
		return nil, err
	}
	schemas, err := objectsOf[*flowcontrolv1.FlowSchema](ctx, s, flowSchemas)
	if err != nil {
		return nil, err
	}
	s.fair.Configure(levels, schemas)
	return schemas, nil
}

func objectsOf[T apimachinery.Object](ctx context.Context, s *Server, gvr schema.GroupVersionResource) (all []T, err error) {
	t, ok := s.Table(gvr.GroupResource())
	if !ok {
		return nil, fmt.Errorf("there is no table of %s", gvr.Resource)
	}
	snap, err := t.Snapshot(ctx, storage.Cached, false)
	if err != nil {
		return nil, err
	}
	for e := range snap.All(storage.Filter{}, "") {
		o, err := s.Object(gvr, e)
		if err != nil {
			return nil, err
		}
		all = append(all, o.(T))
	}
	return all, nil
}

// settleFlow writes the conditions of schemas that say something else than what is; false if one could not be written.
func (s *Server) settleFlow(ctx context.Context, schemas []*flowcontrolv1.FlowSchema) bool {
	levels, err := objectsOf[*flowcontrolv1.PriorityLevelConfiguration](ctx, s, priorityLevels)
	if err != nil {
		return ctx.Err() != nil
	}
	known := map[string]bool{flowcontrolv1.PriorityLevelConfigurationNameExempt: true, flowcontrolv1.PriorityLevelConfigurationNameCatchAll: true}
	for _, l := range levels {
		known[l.Name] = true
	}
	ok := true
	for _, f := range schemas {
		want := dangling(f.Spec.PriorityLevelConfiguration.Name, known)
		if hasCondition(f, want) {
			continue
		}
		want.LastTransitionTime = metav1.NewTime(s.now())
		err := s.writeCondition(ctx, f, want)
		if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			s.c.Log.Warn("the condition of a flow schema was not written", "name", f.Name, "err", err)
			ok = false
		}
	}
	return ok
}

func dangling(level string, known map[string]bool) flowcontrolv1.FlowSchemaCondition {
	c := flowcontrolv1.FlowSchemaCondition{Type: flowcontrolv1.FlowSchemaConditionDangling}
	about := fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q ", level)
	if known[level] {
		c.Status, c.Reason, c.Message = flowcontrolv1.ConditionFalse, "Found", about+"and it exists"
	} else {
		c.Status, c.Reason, c.Message = flowcontrolv1.ConditionTrue, "NotFound", about+"but there is no such object"
	}
	return c
}

func hasCondition(f *flowcontrolv1.FlowSchema, want flowcontrolv1.FlowSchemaCondition) bool {
	for _, c := range f.Status.Conditions {
		if c.Type == want.Type {
			return c.Status == want.Status && c.Reason == want.Reason && c.Message == want.Message
		}
	}
	return false
}

// writeCondition applies one condition to a schema's status.
func (s *Server) writeCondition(ctx context.Context, f *flowcontrolv1.FlowSchema, c flowcontrolv1.FlowSchemaCondition) error {
	body, err := apimachinery.Encode(map[string]any{
		"apiVersion": flowcontrolv1.SchemeGroupVersion.String(), "kind": "FlowSchema",
		"metadata": map[string]any{"name": f.Name, "uid": string(f.UID)},
		"status":   map[string]any{"conditions": []flowcontrolv1.FlowSchemaCondition{c}},
	})
	if err != nil {
		return err
	}
	force := true
	_, err = s.As(ourselves).Do(ctx, &apimachinery.Request{
		Verb: apimachinery.VerbPatch, Resource: flowSchemas, Name: f.Name, Sub: "status",
		ContentType: "application/apply-patch+yaml", Body: body,
		Options: &metav1.PatchOptions{FieldManager: flowManager, Force: &force},
	})
	return err
}
