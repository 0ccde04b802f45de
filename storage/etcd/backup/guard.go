package backup

import (
	"errors"
	"fmt"
	"runtime"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// guarded calls what would end the process by logging, on a full disk for one, and returns an error instead. What
// it had started by then stays.
func guarded(f func(*zap.Logger) error) error {
	result := make(chan error, 8) // of f, and of every goroutine that gave up
	hook := fatal{result}
	log := zap.New(zapcore.NewNopCore(), zap.WithFatalHook(hook), zap.WithPanicHook(hook))
	go func() {
		err := errors.New("gave up")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%w: gave up: %v", ErrDamaged, p) // the database library panics at pages that make no sense
			}
			hook.tell(err)
		}()
		err = f(log)
	}()
	return <-result
}

type fatal struct{ result chan<- error }

var _ zapcore.CheckWriteHook = fatal{}

func (h fatal) tell(err error) {
	select {
	case h.result <- err:
	default: // the first is what counts
	}
}

// OnWrite implements zapcore.CheckWriteHook: it ends the goroutine that logs.
func (h fatal) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := errors.New(e.Message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			err = fmt.Errorf("%s: %w", e.Message, cause)
		}
	}
	h.tell(err)
	runtime.Goexit()
}
