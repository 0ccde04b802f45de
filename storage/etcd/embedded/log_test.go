package embedded

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// TestFatal: where etcd would end the process, its goroutine ends and the member learns why.
func TestFatal(t *testing.T) {
	full := errors.New("no space left on device")
	for name, die := range map[string]func(*zap.Logger){
		"fatal": func(l *zap.Logger) { l.Fatal("save raft state", zap.Error(full)) },
		"panic": func(l *zap.Logger) { l.Named("raft").With(zap.Int("x", 1)).Panic("save raft state", zap.Error(full)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFatal()
			require.NoError(t, f.err())
			log := newZap(slog.New(slog.DiscardHandler), f)
			for range 2 {
				ended := make(chan bool)
				go func() {
					defer close(ended)
					die(log)
					ended <- true
				}()
				require.False(t, <-ended, "the goroutine went on")
			}
			<-f.c
			require.ErrorIs(t, f.err(), full)
			require.EqualError(t, f.err(), "save raft state: no space left on device")
		})
	}
}
