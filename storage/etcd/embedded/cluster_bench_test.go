package embedded_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage/etcd/embedded"
	"github.com/bedplate/bedplate/storage/etcd/embedded/membertest"
)

// BenchmarkFailOver kills the leader of three processes, and measures until another member has done a write, at the
// default heartbeat and election timeout.
func BenchmarkFailOver(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	procs := map[string]*membertest.Process{}
	defer func() {
		for _, p := range procs {
			p.Kill()
		}
	}()
	run := func(name string, c embedded.Config) {
		p, err := membertest.Start(c, nil)
		require.NoError(b, err)
		procs[name] = p
		require.NoError(b, p.Ready(ctx))
	}
	for _, name := range []string{"a", "b", "c"} {
		addr, err := membertest.Address()
		require.NoError(b, err)
		c := embedded.Config{Dir: b.TempDir(), ClientListen: "https://127.0.0.1:0", Cluster: &embedded.Cluster{Listen: addr}}
		if name == "a" {
			c.Name = name
		} else if c.Cluster.Join, err = procs["a"].Invite(ctx, name); err != nil {
			b.Fatal(err)
		}
		run(name, c)
	}
	var took []time.Duration
	for b.Loop() {
		took = append(took, failOver(b, ctx, procs, run))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)-1].Seconds()*1000, "max-ms")
}

func failOver(b *testing.B, ctx context.Context, procs map[string]*membertest.Process, run func(string, embedded.Config)) time.Duration {
	var leader, other string
	members, err := procs["a"].Members(ctx)
	require.NoError(b, err)
	for _, m := range members {
		if m.Leader {
			leader = m.Name
		} else {
			other = m.Name
		}
	}
	client, err := procs[other].Client()
	require.NoError(b, err)
	defer client.Close()
	_, err = client.Put(ctx, "/x", "before")
	require.NoError(b, err)
	begin := time.Now()
	procs[leader].Kill()
	for {
		once, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		_, err = client.Put(once, "/x", "after")
		cancel()
		if err == nil {
			break
		}
	}
	took := time.Since(begin)
	run(leader, procs[leader].Config())
	return took
}
