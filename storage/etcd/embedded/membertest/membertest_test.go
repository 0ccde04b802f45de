package membertest_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage/etcd/embedded"
	"github.com/bedplate/bedplate/storage/etcd/embedded/membertest"
)

func TestMain(m *testing.M) {
	if membertest.Main() {
		return
	}
	os.Exit(m.Run())
}

func TestProcess(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	addr, err := membertest.Address()
	require.NoError(t, err)
	c := embedded.Config{
		Name: "a", Dir: t.TempDir(), TickMs: 20, ElectionMs: 200, ClientListen: "https://127.0.0.1:0",
		Cluster: &embedded.Cluster{Listen: addr},
	}
	for range 2 { // with the same folder and address
		p, err := membertest.Start(c, os.Stderr)
		require.NoError(t, err)
		require.NoError(t, p.Ready(ctx))
		client, err := p.Client()
		require.NoError(t, err)
		_, err = client.Put(ctx, "/x", "1")
		require.NoError(t, err)
		require.NoError(t, client.Close())
		members, err := p.Members(ctx)
		require.NoError(t, err)
		require.Len(t, members, 1)
		require.ErrorContains(t, p.Leave(ctx), "no other member")
		inv, err := p.Invite(ctx, "b")
		require.NoError(t, err)
		require.Equal(t, "b", inv.Name())
		require.ErrorContains(t, p.Remove(ctx, 1), embedded.ErrNoMember.Error())
		require.NoError(t, p.Stop(ctx))
	}
	p, err := membertest.Start(c, nil)
	require.NoError(t, err)
	p.Kill()
	require.Error(t, p.Ready(ctx))
	require.Error(t, p.Err())
	_, err = p.Members(ctx)
	require.Error(t, err)
}
