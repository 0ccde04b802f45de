package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZap makes the logger that etcd wants out of the one we have. Etcd ends the process by logging; here
// that ends the goroutine that logs, and with it the member.
func newZap(log *slog.Logger, f *fatal) *zap.Logger {
	return zap.New(&slogCore{log: log, quiet: &f.quiet}, zap.WithFatalHook(f), zap.WithPanicHook(f))
}

// slogCore is a zap core that writes to slog.
type slogCore struct {
	log   *slog.Logger
	quiet *atomic.Bool // the member is being stopped: its complaints are no news
}

var _ zapcore.Core = (*slogCore)(nil)

// noise is what etcd warns of in every start though nothing is wrong with a member of our kind.
func noise(message string) bool {
	switch message {
	case "Running http and grpc server on single port. This is not recommended for production.",
		"simple token is not cryptographically signed", // nobody logs in
		"Failed to detect schema version",              // not written yet in a new folder
		"failed to update storage version",
		// These come back as errors, and are tried again.
		"rejecting promote learner: learner is not ready",
		"rejecting member promote request; not enough healthy members",
		"rejecting member add request; local member has not been connected to majority peers, reconfigure breaks active quorum",
		"rejecting member remove request; local member has not been connected to all peers, reconfigure breaks active quorum":
		return true
	}
	// A start that campaigns before it has read its own member list; it tries again at once.
	return strings.Contains(message, "pending configuration changes")
}

func (c *slogCore) level(l zapcore.Level) slog.Level {
	switch {
	case l < zapcore.WarnLevel || c.quiet.Load():
		return slog.LevelDebug
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// Enabled implements zapcore.Core.
func (c *slogCore) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), c.level(l))
}

// With implements zapcore.Core.
func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{log: slog.New(c.log.Handler().WithAttrs(attrs(fields))), quiet: c.quiet}
}

// Check implements zapcore.Core.
func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := c.level(e.Level)
	if noise(e.Message) {
		level = slog.LevelDebug
	}
	c.log.LogAttrs(context.Background(), level, "etcd: "+e.Message, attrs(fields)...)
	return nil
}

// Sync implements zapcore.Core.
func (c *slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		f.AddTo(enc)
		if v, ok := enc.Fields[f.Key]; ok {
			out = append(out, slog.Any(f.Key, v))
		}
	}
	return out
}

// fatal catches etcd where it would end the process.
type fatal struct {
	quiet atomic.Bool
	c     chan struct{} // closed at the first

	once  sync.Once
	cause error // set before c is closed
}

func newFatal() *fatal { return &fatal{c: make(chan struct{})} }

var _ zapcore.CheckWriteHook = (*fatal)(nil)

// OnWrite implements zapcore.CheckWriteHook: it does not return.
func (f *fatal) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	f.once.Do(func() {
		f.cause = errors.New(e.Message)
		for _, field := range fields {
			if err, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
				f.cause = fmt.Errorf("%s: %w", e.Message, err)
			}
		}
		close(f.c)
	})
	runtime.Goexit()
}

// err returns what etcd wanted to end the process for, or nil.
func (f *fatal) err() error {
	select {
	case <-f.c:
		return f.cause
	default:
		return nil
	}
}
