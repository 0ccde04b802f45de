package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// authorize returns nil if the authorizer allows a, else Forbidden in Kubernetes' words.
func (s *Server) authorize(ctx context.Context, a *apimachinery.Attributes) error {
	_, err := s.decide(ctx, a)
	return err
}

// decide is authorize, and says what the authorizer gave as its reason.
func (s *Server) decide(ctx context.Context, a *apimachinery.Attributes) (reason string, err error) {
	if s.c.Authorizer == nil {
		return "", nil
	}
	start := time.Now()
	decision, reason, err := s.c.Authorizer.Authorize(ctx, a)
	s.metrics.authorization(decision, err, start)
	if decision == apimachinery.Allow {
		return reason, nil
	}
	given := reason
	if err != nil {
		if ctx.Err() != nil {
			return given, ctx.Err()
		}
		s.c.Log.Warn("authorizer failed", "user", a.User.Name, "verb", a.Verb, "resource", a.Resource, "err", err)
		reason = join(reason, err.Error())
	}
	return given, forbidden(a, reason)
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + ": " + b
}

func forbidden(a *apimachinery.Attributes, reason string) error {
	text := forbiddenText(a)
	if reason != "" {
		text += ": " + reason
	}
	if a.Path != "" {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: 403, Reason: metav1.StatusReasonForbidden,
			Message: "forbidden: " + text, Details: &metav1.StatusDetails{},
		}}
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.Group, Resource: a.Resource}, a.Name, errors.New(text))
}

func forbiddenText(a *apimachinery.Attributes) string {
	who := fmt.Sprintf("User %q cannot %s ", a.User.Name, a.Verb)
	if a.Path != "" {
		return who + fmt.Sprintf("path %q", a.Path)
	}
	resource := a.Resource
	if a.Sub != "" {
		resource += "/" + a.Sub
	}
	text := who + fmt.Sprintf("resource %q in API group %q", resource, a.Group)
	if a.Namespace != "" {
		return text + fmt.Sprintf(" in the namespace %q", a.Namespace)
	}
	return text + " at the cluster scope"
}
