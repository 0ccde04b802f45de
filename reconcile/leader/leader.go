// Package leader elects one of several processes over a Lease, as Kubernetes' own components do, and gives the
// winner a fence: against a server that knows it, a write that carries the fence is refused once somebody else
// leads. Other Kubernetes ignore the fence; there, a leader that was paused may write until it notices.
package leader

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery/client"
)

// Config configures an election. Client and Name must be set.
type Config struct {
	// Client reads and writes the Lease; its registry must know coordination.k8s.io/v1 Lease.
	Client *client.Client
	// Namespace and Name are those of the Lease. Namespace's default is "kube-system".
	Namespace, Name string
	// Identity is what the process calls itself; no two may share one. Default: the host's name and something random.
	Identity string
	// Duration is how long others wait for a leader that is silent. Default 15 s.
	Duration time.Duration
	// Deadline is how long a leader that can't renew goes on. Default 10 s; it must be less than Duration.
	Deadline time.Duration
	// Retry is the pause between tries to acquire, and between renewals. Default 2 s; it must be less than Deadline.
	Retry time.Duration
	// Log hears who leads. nil: off.
	Log *slog.Logger
}

func (c *Config) validate() error {
	if c.Namespace == "" {
		c.Namespace = "kube-system"
	}
	if c.Duration == 0 {
		c.Duration = 15 * time.Second
	}
	if c.Deadline == 0 {
		c.Deadline = 10 * time.Second
	}
	if c.Retry == 0 {
		c.Retry = 2 * time.Second
	}
	if c.Identity == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("make an identity: %w", err)
		}
		c.Identity = host + "_" + rand.Text()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Client == nil || c.Name == "":
		return errors.New("Client and Name must be set")
	case c.Retry <= 0 || c.Deadline <= c.Retry || c.Duration <= c.Deadline:
		return fmt.Errorf("it takes Retry (%v) < Deadline (%v) < Duration (%v)", c.Retry, c.Deadline, c.Duration)
	case c.Duration < time.Second:
		return fmt.Errorf("Duration is %v, but leases count in seconds: give at least 1s", c.Duration)
	}
	return nil
}

// ErrLost is what [Elector.Run] returns when somebody else leads, or might.
var ErrLost = errors.New("the lease is lost")

// Elector takes part in one election.
type Elector struct {
	c      Config
	leases client.Resource[*coordinationv1.Lease]
	seen   observed
}

// New returns an elector, which does nothing before Run.
func New(c Config) (*Elector, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure the election of %q: %w", c.Name, err)
	}
	e := &Elector{c: c, leases: client.For[*coordinationv1.Lease](c.Client)}
	if err := e.leases.Err(); err != nil {
		return nil, fmt.Errorf("configure the election of %q: %w", c.Name, err)
	}
	return e, nil
}

// Identity is what the process calls itself.
func (e *Elector) Identity() string { return e.c.Identity }

// Run waits until it leads and calls lead, whose context ends when the lease is lost or ctx ends, and with the
// fence to put on writes. When lead has returned, the lease is given up, so that the next leader need not
// wait. Run returns lead's error; ErrLost, joined with it, where the lease was lost; nil where ctx ended before.
func (e *Elector) Run(ctx context.Context, lead func(ctx context.Context, fence string) error) error {
	lease, err := e.acquire(ctx)
	if err != nil || lease == nil {
		return err
	}
	fence := e.c.Namespace + "/" + e.c.Name + "=" + lease.ResourceVersion
	e.c.Log.Info("leading", "lease", e.c.Namespace+"/"+e.c.Name, "identity", e.c.Identity)
	leading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	result := make(chan error, 1)
	go func() {
		result <- lead(leading, fence)
		stop(nil)
	}()
	lost := e.hold(leading)
	stop(lost)
	err = <-result
	if lost != nil {
		e.c.Log.Warn("lost the lease", "lease", e.c.Namespace+"/"+e.c.Name, "err", lost)
		return errors.Join(lost, err)
	}
	if failed := e.release(ctx); failed != nil {
		e.c.Log.Warn("the next leader has to wait", "err", failed)
	}
	return err
}

// acquire tries until the lease is its own; nil, nil when ctx ends.
func (e *Elector) acquire(ctx context.Context) (*coordinationv1.Lease, error) {
	for {
		lease, err := e.try(ctx)
		switch {
		case lease != nil:
			return lease, nil
		case err != nil && ctx.Err() == nil:
			e.c.Log.Warn("try for the lease again", "err", err)
		}
		if !pause(ctx, e.c.Retry) {
			return nil, nil
		}
	}
}

// try makes one try; nil, nil means that somebody else leads.
func (e *Elector) try(ctx context.Context) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, e.c.Deadline)
	defer cancel()
	have, err := e.leases.Get(ctx, e.c.Namespace, e.c.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	if err != nil {
		have = nil
	}
	want := e.seen.step(have, e.c.Identity, e.c.Duration, time.Now())
	switch {
	case want == nil:
		return nil, nil
	case have == nil:
		want.Namespace, want.Name = e.c.Namespace, e.c.Name
		return e.written(e.leases.Create(ctx, want))
	}
	return e.written(e.leases.Update(ctx, want))
}

// written drops what a failed call returned, and takes a lost race for what it is.
func (e *Elector) written(l *coordinationv1.Lease, err error) (*coordinationv1.Lease, error) {
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return l, nil
}

// hold renews until ctx ends (nil) or the lease is lost.
func (e *Elector) hold(ctx context.Context) error {
	last := time.Now()
	for pause(ctx, e.c.Retry) {
		begun := time.Now()
		lease, err := e.renew(ctx, last.Add(e.c.Deadline))
		switch {
		case ctx.Err() != nil:
			return nil
		case lease != nil:
			last = begun
		case err == nil && e.seen.holder != e.c.Identity:
			return fmt.Errorf("%w to %q", ErrLost, e.seen.holder)
		case !time.Now().Before(last.Add(e.c.Deadline)):
			return fmt.Errorf("%w: not renewed for %v: %v", ErrLost, e.c.Deadline, err)
		}
	}
	return nil
}

func (e *Elector) renew(ctx context.Context, deadline time.Time) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	return e.try(ctx)
}

// release gives the lease up, if it is still its own.
func (e *Elector) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.c.Retry)
	defer cancel()
	have, err := e.leases.Get(ctx, e.c.Namespace, e.c.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("give up the lease: %w", err)
	}
	if have.Spec.HolderIdentity == nil || *have.Spec.HolderIdentity != e.c.Identity {
		return nil
	}
	_, err = e.leases.Update(ctx, released(have, time.Now()))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
