//go:build linux

package runtime

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/runtime/internal/engine"
)

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func (*Runtime) dirOf(cfg Config) engine.Layout { return engine.Layout(cfg.Dir) }

// expect is a writer that tells when it has been written a text.
type expect struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	text string
	seen chan struct{}
	once sync.Once
}

func newExpect(text string) *expect { return &expect{text: text, seen: make(chan struct{})} }

func (e *expect) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buf.Write(b)
	if strings.Contains(e.buf.String(), e.text) {
		e.once.Do(func() { close(e.seen) })
	}
	return len(b), nil
}

func (e *expect) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.buf.String()
}

// says waits until a container, which says it over and over, has said a text.
func says(t testing.TB, r *Runtime, id, text string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e := newExpect(text)
	done := make(chan error, 1)
	go func() { done <- r.Attach(ctx, id, Streams{Stdout: e}) }()
	select {
	case <-e.seen:
		cancel()
		<-done
	case err := <-done:
		require.NoError(t, err)
		require.Contains(t, e.String(), text)
	}
}

func contextWithTimeout(t testing.TB, d time.Duration) (context.Context, func()) {
	return context.WithTimeout(t.Context(), d)
}

// limited fails once it has been written n bytes.
type limited struct {
	w *bytes.Buffer
	n int
}

func (l *limited) Write(b []byte) (int, error) {
	if l.w.Len() > l.n {
		return 0, bytes.ErrTooLarge
	}
	return l.w.Write(b)
}
