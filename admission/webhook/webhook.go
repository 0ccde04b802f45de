// Package webhook asks the webhooks of Mutating- and ValidatingWebhookConfigurations about writes, as Kubernetes does:
// AdmissionReview v1 (or v1beta1 where a webhook takes nothing newer), rules with equivalent versions, selectors, match
// conditions, failure policy, dry run, timeouts, reinvocation, JSON patches, warnings and audit annotations.
//
// Mutating webhooks are asked one after the other, in the order of the names of their configurations, validating ones
// all at once. A configuration is in force for every request that begins after its write was answered by the same
// server, and, on other servers of the same store, once they hear of it. What configures admission is never judged by
// webhooks.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/admission/internal/hook"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/callout"
	"github.com/bedplate/bedplate/apimachinery/cel"
)

// The plugins' names.
const (
	MutatingName   = "MutatingAdmissionWebhook"
	ValidatingName = "ValidatingAdmissionWebhook"
)

// Services says where a service is reached. A server's ServiceResolver is one.
type Services interface {
	Resolve(ctx context.Context, namespace, name string, port int32) (*url.URL, error)
}

// Config configures the plugins. Registry, Namespace, Mutating, Validating and Language are needed.
type Config struct {
	// Registry has the kinds that are served.
	Registry *apimachinery.Registry
	// Namespace reads a namespace; an apierrors NotFound if there is none.
	Namespace func(ctx context.Context, name string) (*corev1.Namespace, error)
	// Mutating and Validating return the configurations as they are now, sorted by name. What they return is only read.
	Mutating, Validating func(ctx context.Context) ([]apimachinery.Object, error)
	// Language compiles match conditions, and Authorizer answers what they ask.
	Language   *cel.Environment
	Authorizer apimachinery.Authorizer
	// Services says where webhooks are that are named by a service. Nil: those can't be called.
	Services Services
	// Dial connects to what Services says. Nil: [callout.Guarded].
	Dial callout.Dial
	// Registerer takes the metrics, under Kubernetes' names. Nil: off.
	Registerer prometheus.Registerer
	// Log hears of webhooks that could not be called. Nil: off.
	Log *slog.Logger
}

func (c *Config) validate() error {
	if c.Registry == nil || c.Namespace == nil || c.Mutating == nil || c.Validating == nil || c.Language == nil {
		return errors.New("Registry, Namespace, Mutating, Validating and Language must be set")
	}
	if c.Dial == nil {
		c.Dial = callout.Guarded()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// New returns the plugin that asks mutating webhooks, and the one that asks validating ones. They may be used
// concurrently.
func New(c Config) (mutating, validating apimachinery.Plugin, err error) {
	if err = c.validate(); err == nil {
		var m *metrics
		if m, err = newMetrics(c.Registerer); err == nil {
			caller := &caller{c: c, cluster: hook.Cluster{Registry: c.Registry, Namespace: c.Namespace}, metrics: m}
			mutating = apimachinery.Plugin{Name: MutatingName, Mutate: &mutator{caller, caller.compiled(c.Mutating)}}
			validating = apimachinery.Plugin{Name: ValidatingName, Validate: &validator{caller, caller.compiled(c.Validating)}}
			return mutating, validating, nil
		}
	}
	return mutating, validating, fmt.Errorf("configure admission webhooks: %w", err)
}

// caller is what both plugins have in common.
type caller struct {
	c       Config
	cluster hook.Cluster
	metrics *metrics
}

// compiled keeps the webhooks of configurations, each configuration's in one slice.
func (c *caller) compiled(objects hook.Objects) *hook.Compiled[[]*webhook] {
	compile := func(o apimachinery.Object) (all []*webhook) {
		switch o := o.(type) {
		case *admissionregistrationv1.MutatingWebhookConfiguration:
			for i := range o.Webhooks {
				all = append(all, c.mutating(o.Name, &o.Webhooks[i]))
			}
		case *admissionregistrationv1.ValidatingWebhookConfiguration:
			for i := range o.Webhooks {
				all = append(all, c.validating(o.Name, &o.Webhooks[i]))
			}
		}
		return all
	}
	return hook.NewCompiled(objects, compile, func(gone []*webhook) {
		for _, w := range gone {
			w.close()
		}
	})
}

// asked are the webhooks of all configurations, with their places among all.
func asked(ctx context.Context, from *hook.Compiled[[]*webhook]) ([]*webhook, error) {
	configurations, err := from.Get(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the webhooks to ask: %w", err)
	}
	var all []*webhook
	for _, c := range configurations {
		all = append(all, c...)
	}
	return all, nil
}
