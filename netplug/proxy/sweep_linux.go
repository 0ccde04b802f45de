package proxy

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"
)

// sweeper ends stale flows beside the loop that writes the rules: to look for them takes the kernel time in the order
// of all connections that it tracks. It holds each frontend once.
type sweeper struct {
	host  *host
	log   *slog.Logger
	ready chan struct{}

	mu   sync.Mutex
	todo flows
}

func newSweeper(h *host, log *slog.Logger) *sweeper {
	return &sweeper{host: h, log: log, ready: make(chan struct{}, 1), todo: flows{}}
}

// add asks to look at frontends; what is said of one now replaces what was said before.
func (s *sweeper) add(f flows) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.todo, f)
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// run sweeps until ctx ends, and once more then.
func (s *sweeper) run(ctx context.Context) error {
	again := time.NewTimer(0)
	defer again.Stop()
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return s.sweep()
		case <-s.ready:
		case <-again.C:
		}
		if err := s.sweep(); err != nil {
			s.log.Error("datagrams may still go to endpoints that are gone", "retry", pause, "err", err)
			again.Reset(pause)
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
	}
}

// sweep ends the stale flows of what there is to do. If it fails, that is still to do, but for what was replaced.
func (s *sweeper) sweep() error {
	s.mu.Lock()
	f := s.todo
	s.todo = flows{}
	s.mu.Unlock()
	err := s.host.cut(f)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		maps.Copy(f, s.todo)
		s.todo = f
	}
	return err
}
