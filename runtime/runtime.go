//go:build linux

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bedplate/bedplate/runtime/internal/cg"
	"github.com/bedplate/bedplate/runtime/internal/engine"
	"github.com/bedplate/bedplate/runtime/internal/launcher"
	"github.com/bedplate/bedplate/runtime/internal/spool"
)

// format is the version of what is stored in the folder.
const format = 1

// Runtime runs sandboxes and containers. Its methods may be called concurrently; those that
// change the same container wait for each other. Specs that go in or come out share
// memory with it: don't change what they point to.
type Runtime struct {
	cfg    Config
	dir    engine.Layout
	boot   string
	lock   *os.File
	driver driver
	local  *engine.Engine // in process, else nil
	spool  *spool.Watcher
	ctx    context.Context // ends with Detach or Shutdown
	cancel context.CancelFunc
	wg     sync.WaitGroup

	keeping sync.Mutex // held while a keeper is looked for

	mu         sync.Mutex
	sandboxes  map[string]*sandbox
	containers map[string]*container
	events     map[*subscription]struct{}
	closed     bool
}

// Open opens the state folder, making it if need be, and adopts the sandboxes and
// containers that it finds, running or not. What a crash left half-made is removed. Unless
// cfg.InProcess, it finds the folder's keeper, or starts one. End with Detach or
// Shutdown.
//
// Errors are ErrNotInitialised, ErrInvalid, ErrUnsupported (no root, or the kernel lacks
// something), ErrInUse, and those of the file system.
func Open(ctx context.Context, cfg Config) (*Runtime, error) {
	r, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open runtime: %w", err)
	}
	return r, nil
}

func open(ctx context.Context, cfg Config) (_ *Runtime, err error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := checkMachine(); err != nil {
		return nil, err
	}
	r := &Runtime{
		cfg: cfg, dir: engine.Layout(cfg.Dir),
		sandboxes: map[string]*sandbox{}, containers: map[string]*container{}, events: map[*subscription]struct{}{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if r.boot, err = engine.BootID(); err != nil {
		return nil, err
	}
	if err := r.makeDirs(); err != nil {
		return nil, err
	}
	if r.lock, err = lockDir(r.dir.AgentLock()); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := r.checkFormat(); err != nil {
		return nil, err
	}
	if r.spool, err = r.dir.Spool().Watch(); err != nil {
		return nil, err
	}
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	return r, r.load()
}

func (r *Runtime) makeDirs() error {
	for _, d := range []string{r.cfg.Dir, r.dir.Containers(), r.dir.Sandboxes(), string(r.dir.Spool()), r.dir.Libcontainer()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	// Others' programs must not reach the socket, whoever made the folder.
	return os.Chmod(r.cfg.Dir, 0o700)
}

func (r *Runtime) formatFile() string { return filepath.Join(r.cfg.Dir, "format") }

func (r *Runtime) checkFormat() error {
	var have int
	err := engine.Load(r.formatFile(), &have)
	if errors.Is(err, os.ErrNotExist) {
		return engine.Save(r.formatFile(), format)
	}
	if err == nil && have > format {
		err = fmt.Errorf("%w: the folder was written by a newer version (format %d, this one knows %d): use that version", ErrUnsupported, have, format)
	}
	return err
}

// connect finds who starts containers.
func (r *Runtime) connect(ctx context.Context) error {
	if !r.cfg.InProcess {
		if err := r.startKeeper(ctx); err != nil {
			return err
		}
		d := &remote{client: launcher.Client{Dir: r.dir}, keep: r.startKeeper}
		r.driver = d
		_, err := d.client.Hello(ctx)
		return err
	}
	l, err := launcher.Lock(r.dir.KeeperLock())
	if errors.Is(err, launcher.ErrLocked) {
		return fmt.Errorf("%w: a keeper serves the folder: open it without Config.InProcess, or shut that down first", ErrInUse)
	}
	if err = errors.Join(err, closeFile(l)); err != nil {
		return err
	}
	if r.local, err = engine.New(r.dir, r.cfg.Log, nil); err != nil {
		return err
	}
	r.driver = &local{r.local}
	return r.local.Adopt(nil)
}

func closeFile(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

// load adopts what is in the folder. What can't be read can't be adopted: it is removed.
func (r *Runtime) load() error {
	for _, dir := range []struct {
		path string
		load func(id string) error
	}{{r.dir.Sandboxes(), r.loadSandbox}, {r.dir.Containers(), r.loadContainer}} {
		entries, err := os.ReadDir(dir.path)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := dir.load(e.Name()); err != nil {
				return err
			}
		}
	}
	return r.pruneSpool()
}

func (r *Runtime) pruneSpool() error {
	keep := map[string]bool{}
	r.mu.Lock()
	for _, c := range r.containers {
		if c.status.State == StateRunning {
			keep[spool.Name(c.status.PID, c.status.StartTime)] = true
		}
	}
	r.mu.Unlock()
	return r.dir.Spool().Prune(func(name string) bool {
		// A record in the making belongs to the record.
		return keep[strings.TrimSuffix(strings.TrimSuffix(name, ".go"), ".c")]
	})
}

// ifOpen returns ErrClosed once the Runtime is.
func (r *Runtime) ifOpen() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	return nil
}

// Detach lets go of everything and leaves it running: containers, keeper and launcher. The
// next Open adopts it. Calls in progress end with ErrClosed or their own error.
func (r *Runtime) Detach() error {
	if err := r.close(); err != nil {
		return fmt.Errorf("detach runtime: %w", err)
	}
	return nil
}

func (r *Runtime) close() error {
	r.mu.Lock()
	again := r.closed
	r.closed = true
	for s := range r.events {
		r.unsubscribe(s)
	}
	r.mu.Unlock()
	if again {
		return ErrClosed
	}
	r.cancel()
	if r.local != nil {
		r.local.Close()
	}
	r.wg.Wait()
	var err error
	if r.spool != nil {
		err = r.spool.Close()
	}
	return errors.Join(err, closeFile(r.lock))
}

// Shutdown stops every container (its stop signal, and SIGKILL after ten seconds),
// removes all containers and sandboxes, ends the keeper and the launcher, and removes the
// cgroups and the folder. When ctx ends before, the error says so and what is left can
// be opened again. The Runtime is closed in any case.
func (r *Runtime) Shutdown(ctx context.Context) error {
	const grace = 10 * time.Second
	err := r.ifOpen()
	if err == nil {
		err = r.removeAll(ctx, grace)
	}
	if err == nil {
		err = r.endKeeper(ctx)
	}
	if err == nil {
		err = r.removeDir()
	}
	if err = errors.Join(err, r.close()); err != nil {
		return fmt.Errorf("shut down runtime: %w", err)
	}
	return nil
}

func (r *Runtime) removeAll(ctx context.Context, grace time.Duration) error {
	g, gctx := errgroup.WithContext(ctx)
	const atOnce = 32
	g.SetLimit(atOnce)
	for _, c := range r.Containers() {
		g.Go(func() error {
			if err := r.StopContainer(gctx, c.Spec.ID, grace); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			return r.RemoveContainer(gctx, c.Spec.ID)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, s := range r.Sandboxes() {
		if err := r.RemoveSandbox(ctx, s.Spec.ID); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runtime) endKeeper(ctx context.Context) error {
	if !r.cfg.InProcess {
		c := launcher.Client{Dir: r.dir}
		if err := c.Quit(ctx); err != nil && !errors.Is(err, launcher.ErrNoKeeper) {
			return err
		}
		if err := launcher.Gone(ctx, r.dir); err != nil {
			return err
		}
	}
	k, err := cg.Open(cg.Join(r.cfg.CgroupParent, keeperGroup))
	if err != nil {
		return err
	}
	if err := k.Remove(); err != nil {
		return err
	}
	p, err := cg.Open(r.cfg.CgroupParent)
	if err != nil {
		return err
	}
	p.Prune()
	return nil
}

// removeDir deletes what the Runtime made, and the folder if nothing else is in it.
func (r *Runtime) removeDir() error {
	var errs []error
	for _, d := range []string{r.dir.Containers(), r.dir.Sandboxes(), string(r.dir.Spool()), r.dir.Libcontainer()} {
		errs = append(errs, os.RemoveAll(d))
	}
	for _, f := range []string{r.dir.Socket(), r.dir.KeeperLock(), r.dir.LauncherLog(), r.formatFile(), r.dir.AgentLock()} {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	_ = os.Remove(r.cfg.Dir)
	return errors.Join(errs...)
}
