package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/bedplate/bedplate/apimachinery/server"
)

// Config configures an [Auditor]. It needs a Policy and at least one backend.
type Config struct {
	Policy *auditv1.Policy
	// File keeps events in a file, Webhook sends them to a webhook. Nil: it does not.
	File    *File
	Webhook *Webhook
	// Sinks are backends of your own.
	Sinks []Sink
	// Log hears of events that could not be kept. Nil: off.
	Log *slog.Logger
	// Registerer takes the metrics, under Kubernetes' names. Nil: off.
	Registerer prometheus.Registerer
}

// Sink is a backend of one's own: where events go. How it is driven is said by its Delivery.
type Sink struct {
	Name string
	// Write takes events in order, not to be changed. An error says that they are lost. It is called by one goroutine
	// at a time, unless the mode is Batch with Throttle set: then batches are written while others are.
	Write    func(context.Context, []*auditv1.Event) error
	Delivery Delivery
	Truncate Truncate
}

// Auditor implements [server.Auditor] by a policy. Its methods may be called concurrently.
type Auditor struct {
	rules   []rule
	queues  []*queue
	metrics *metrics
	ran     atomic.Bool
}

var _ server.Auditor = (*Auditor)(nil)

// New makes an auditor; it starts nothing, and opens no file or connection.
func New(c Config) (*Auditor, error) {
	if c.Policy == nil {
		return nil, errors.New("configure audit: no policy")
	}
	if err := validate(c.Policy); err != nil {
		return nil, fmt.Errorf("configure audit: policy: %w", err)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	a := &Auditor{rules: rulesOf(c.Policy)}
	var err error
	if a.metrics, err = newMetrics(c.Registerer); err != nil {
		return nil, fmt.Errorf("configure audit: register metrics: %w", err)
	}
	sinks, err := c.sinks()
	if err != nil {
		return nil, fmt.Errorf("configure audit: %w", err)
	}
	for _, s := range sinks {
		q, err := newQueue(s, a.metrics, c.Log)
		if err != nil {
			return nil, fmt.Errorf("configure audit: %s: %w", s.Name, err)
		}
		a.queues = append(a.queues, q)
	}
	return a, nil
}

func (c *Config) sinks() ([]Sink, error) {
	all := append([]Sink{}, c.Sinks...)
	if c.File != nil {
		s, err := c.File.sink()
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if c.Webhook != nil {
		s, err := c.Webhook.sink()
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, errors.New("no backend: give a File or a Webhook")
	}
	return all, nil
}

// Run drives the batches until ctx ends, and returns when all events that were taken are written, or given up. It must
// run while the auditor is in use: in the mode Batch events wait for it.
func (a *Auditor) Run(ctx context.Context) error {
	if a.ran.Swap(true) {
		return errors.New("run audit: it ran already")
	}
	var g errgroup.Group
	for _, q := range a.queues {
		g.Go(func() error {
			q.run(ctx)
			return nil
		})
	}
	return g.Wait()
}

// Rule implements [server.Auditor].
func (a *Auditor) Rule(ev *server.AuditEvent) server.AuditRule {
	for i := range a.rules {
		if r := &a.rules[i]; r.matches(ev) {
			a.metrics.level(int(r.AuditRule.Level))
			return r.AuditRule
		}
	}
	return server.AuditRule{} // the last rule matches everything
}

// Take implements [server.Auditor].
func (a *Auditor) Take(ev *server.AuditEvent) bool {
	event := eventOf(ev)
	a.metrics.event()
	kept := true
	for _, q := range a.queues {
		if err := q.take(event); err != nil && q.Delivery.Mode == BlockingStrict {
			kept = false
		}
	}
	if !kept && ev.Stage == server.StageRequestReceived {
		a.metrics.rejected()
	}
	return kept
}
