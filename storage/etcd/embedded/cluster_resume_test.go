package embedded

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// running runs a member until the test ends.
func running(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := New(c)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- nil
		require.NoError(t, err)
	}
	return s
}

// TestJoinGoesOn stops joining at each of its steps: whoever starts again in the folder gets the membership that was
// given, though the invitation is used up.
func TestJoinGoesOn(t *testing.T) {
	t.Parallel()
	config := func() Config {
		return Config{Dir: t.TempDir(), TickMs: 20, ElectionMs: 200, Cluster: &Cluster{Listen: "127.0.0.1:0"}}
	}
	a := running(t, config())
	inv, err := a.Invite(t.Context(), "b")
	require.NoError(t, err)
	c := config()
	c.Cluster.Join = inv
	accepted := func() *secure {
		s, err := New(c)
		require.NoError(t, err)
		k, err := s.prepare(t.Context())
		require.NoError(t, err)
		k.stop()
		return k
	}
	first := accepted() // the cluster has a member that has not been started
	require.NotZero(t, first.st.ID)
	require.Equal(t, first.st.ID, accepted().st.ID)

	for _, file := range []string{caCertFile, caKeyFile, memberFile} { // the answer was lost
		require.NoError(t, os.Remove(filepath.Join(c.Dir, tlsFolder, file)))
	}
	require.Equal(t, first.st.ID, accepted().st.ID)
	first.st.ID, first.st.Peers = 0, nil
	require.NoError(t, first.st.store(c.Dir))
	require.NotZero(t, accepted().st.ID)

	c.Cluster.Join = Invitation{}
	b := running(t, c)
	members, err := b.Members(t.Context())
	require.NoError(t, err)
	require.Len(t, members, 2)
	for _, m := range members {
		require.False(t, m.Learner)
	}
}
