package embedded_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
	"github.com/bedplate/bedplate/storage/etcd/embedded/membertest"
	"github.com/bedplate/bedplate/storage/storetest"
)

func TestMain(m *testing.M) {
	if membertest.Main() {
		return
	}
	// Tests with several members wait more than they compute, whatever the number of processors.
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	if f := flag.Lookup("rapid.checks"); f != nil && f.Value.String() == f.DefValue {
		if err := f.Value.Set("20"); err != nil { // each step is a write to disk, of three members
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// start runs a server until the test ends, or stop is called.
func start(t *testing.T, c embedded.Config) (s *embedded.Server, stop func()) {
	t.Helper()
	s, err := embedded.New(c)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-ended)
		}
	}
	t.Cleanup(stop)
	select {
	case <-s.Ready():
	case err := <-ended:
		stopped = true
		require.NoError(t, err)
		require.FailNow(t, "ended before it was ready")
	case <-time.After(time.Minute):
		require.FailNow(t, "not ready in time")
	}
	return s, stop
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storage.Backend {
		s, _ := start(t, embedded.Config{Dir: t.TempDir()})
		return s.Backend()
	})
}
