//go:build linux

package runtime

import (
	"context"
	"errors"
	"os"

	"github.com/bedplate/bedplate/runtime/internal/engine"
	"github.com/bedplate/bedplate/runtime/internal/launcher"
	"github.com/bedplate/bedplate/runtime/internal/proc"
)

// driver starts processes: in a launcher, or here. Everything else a Runtime does itself.
type driver interface {
	start(ctx context.Context, id string) (engine.Run, error)
	exec(ctx context.Context, id string, req engine.ExecRequest, stdio [3]*os.File, started func(int, *os.File) error) (proc.Exit, error)
	attach(ctx context.Context, id string, stdout, stderr *os.File) (*attachment, error)
	reopen(ctx context.Context, id string) error
}

// attachment is a connection to a container's standard streams.
type attachment struct {
	stdin      *os.File // nil if there is none
	wait       func(ctx context.Context) error
	closeStdin func() error
	close      func()
}

// remote asks the launcher, starting a keeper if there is none.
type remote struct {
	client launcher.Client
	keep   func(ctx context.Context) error
}

var _ driver = (*remote)(nil)

// kept runs f, and again if there was no keeper.
func (d *remote) kept(ctx context.Context, f func() error) error {
	err := f()
	if !errors.Is(err, launcher.ErrNoKeeper) {
		return err
	}
	if err := d.keep(ctx); err != nil {
		return err
	}
	return f()
}

func (d *remote) start(ctx context.Context, id string) (run engine.Run, err error) {
	err = d.kept(ctx, func() error {
		run, err = d.client.Start(ctx, id)
		if errors.Is(err, launcher.ErrLost) {
			// The keeper is dying over it, for a launcher alone was waited for.
			err = launcher.ErrNoKeeper
		}
		return err
	})
	return run, err
}

func (d *remote) exec(ctx context.Context, id string, req engine.ExecRequest, stdio [3]*os.File, started func(int, *os.File) error) (proc.Exit, error) {
	if err := d.ready(ctx); err != nil {
		return proc.Exit{}, err
	}
	return d.client.Exec(ctx, id, req, stdio, started)
}

// ready makes sure that there is a launcher before descriptors are given away.
func (d *remote) ready(ctx context.Context) error { return d.keep(ctx) }

func (d *remote) attach(ctx context.Context, id string, stdout, stderr *os.File) (*attachment, error) {
	if err := d.ready(ctx); err != nil {
		return nil, err
	}
	a, err := d.client.Attach(ctx, id, stdout, stderr)
	if err != nil {
		return nil, err
	}
	return &attachment{stdin: a.Stdin, wait: a.Wait, closeStdin: a.CloseStdin, close: a.Close}, nil
}

func (d *remote) reopen(ctx context.Context, id string) error {
	return d.kept(ctx, func() error { return d.client.Reopen(ctx, id) })
}

// local runs containers in this process.
type local struct{ e *engine.Engine }

var _ driver = (*local)(nil)

func (d *local) start(_ context.Context, id string) (engine.Run, error) { return d.e.Start(id) }

func (d *local) exec(ctx context.Context, id string, req engine.ExecRequest, stdio [3]*os.File, started func(int, *os.File) error) (proc.Exit, error) {
	return d.e.Exec(ctx, id, req, stdio, started)
}

func (d *local) attach(_ context.Context, id string, stdout, stderr *os.File) (*attachment, error) {
	a, err := d.e.Attach(id, stdout, stderr)
	if err != nil {
		return nil, err
	}
	return &attachment{
		stdin: a.Stdin,
		wait: func(ctx context.Context) error {
			select {
			case <-a.Done:
				return a.Close()
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		},
		closeStdin: func() error { return d.e.CloseStdin(id) },
		close:      func() { _ = a.Close() },
	}, nil
}

func (d *local) reopen(_ context.Context, id string) error { return d.e.Reopen(id) }
