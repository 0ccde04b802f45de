package embedded_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bedplate/bedplate/storage/etcd/embedded"
	"github.com/bedplate/bedplate/storage/etcd/embedded/membertest"
)

// cluster is members in processes of their own.
type cluster struct {
	t   *testing.T
	ctx context.Context

	mu      sync.Mutex
	members map[string]*membertest.Process
	clients map[string]*clientv3.Client
}

func newCluster(t *testing.T) *cluster {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	c := &cluster{t: t, ctx: ctx, members: map[string]*membertest.Process{}, clients: map[string]*clientv3.Client{}}
	t.Cleanup(func() {
		for name, p := range c.members {
			c.close(name)
			p.Kill()
		}
		cancel()
	})
	return c
}

func (c *cluster) run(conf embedded.Config, name string) *membertest.Process {
	c.t.Helper()
	p, err := membertest.Start(conf, nil)
	require.NoError(c.t, err)
	c.mu.Lock()
	c.members[name] = p
	c.mu.Unlock()
	if err := p.Ready(c.ctx); err != nil {
		require.NoError(c.t, err, name)
	}
	client, err := p.Client()
	require.NoError(c.t, err)
	c.mu.Lock()
	c.clients[name] = client
	c.mu.Unlock()
	return p
}

// start starts a new member, invited by the one of the name by, if any.
func (c *cluster) start(name, by string) *membertest.Process {
	c.t.Helper()
	addr, err := membertest.Address()
	require.NoError(c.t, err)
	conf := embedded.Config{
		Dir: c.t.TempDir(), TickMs: 20, ElectionMs: 200, ClientListen: "https://127.0.0.1:0",
		Cluster: &embedded.Cluster{Listen: addr},
	}
	if by == "" {
		conf.Name = name
	} else {
		conf.Cluster.Join, err = c.members[by].Invite(c.ctx, name)
		require.NoError(c.t, err)
	}
	return c.run(conf, name)
}

func (c *cluster) restart(name string) {
	c.t.Helper()
	c.run(c.members[name].Config(), name)
}

func (c *cluster) kill(names ...string) {
	for _, n := range names {
		_ = c.members[n].Signal(os.Kill) // at once, all of them
	}
	for _, n := range names {
		<-c.members[n].Ended()
		c.close(n)
	}
}

func (c *cluster) close(name string) {
	c.mu.Lock()
	client := c.clients[name]
	delete(c.clients, name)
	c.mu.Unlock()
	if client != nil {
		_ = client.Close() // its member may be dead
	}
}

// leader returns a name, as the member by sees it, and the others' names.
func (c *cluster) leader(by string) (leader string, others []string) {
	c.t.Helper()
	members, err := c.members[by].Members(c.ctx)
	require.NoError(c.t, err)
	for _, m := range members {
		if m.Leader {
			leader = m.Name
		} else {
			others = append(others, m.Name)
		}
	}
	require.NotEmpty(c.t, leader)
	return leader, others
}

func (c *cluster) names(by string) (names []string, ids map[string]uint64) {
	c.t.Helper()
	members, err := c.members[by].Members(c.ctx)
	require.NoError(c.t, err)
	ids = map[string]uint64{}
	for _, m := range members {
		names = append(names, m.Name)
		ids[m.Name] = m.ID
	}
	return names, ids
}

// any returns clients that are open, in no order.
func (c *cluster) any() (out []*clientv3.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, client := range c.clients {
		out = append(out, client)
	}
	return out
}

// load writes to a key of each writer's own, the next number once the one before was acknowledged.
type load struct {
	c    *cluster
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	acked []int
	more  chan struct{} // closed and replaced by each acknowledgement
}

func (c *cluster) load(writers int) *load {
	ctx, stop := context.WithCancel(c.ctx)
	l := &load{c: c, stop: stop, acked: make([]int, writers), more: make(chan struct{})}
	for w := range writers {
		l.wg.Go(func() {
			for n := 1; ctx.Err() == nil; {
				for _, client := range c.any() {
					if ctx.Err() != nil {
						return
					}
					once, cancel := context.WithTimeout(ctx, time.Second)
					_, err := client.Put(once, fmt.Sprintf("/load/%d", w), strconv.Itoa(n))
					cancel()
					if err != nil {
						continue // the same number by another member: writing it twice does no harm
					}
					l.mu.Lock()
					l.acked[w] = n
					close(l.more)
					l.more = make(chan struct{})
					l.mu.Unlock()
					n++
				}
			}
		})
	}
	c.t.Cleanup(func() { l.end() })
	return l
}

func (l *load) end() {
	l.stop()
	l.wg.Wait()
}

func (l *load) count() (sum int, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.acked {
		sum += n
	}
	return sum, l.more
}

// goesOn waits for n more writes.
func (l *load) goesOn(n int) time.Duration {
	l.c.t.Helper()
	begin := time.Now()
	was, _ := l.count()
	for {
		now, more := l.count()
		if now >= was+n {
			return time.Since(begin)
		}
		select {
		case <-more:
		case <-l.c.ctx.Done():
			require.FailNow(l.c.t, "no writes any more")
		}
	}
}

// check reads what each member has: everything that was acknowledged.
func (l *load) check(names ...string) {
	l.c.t.Helper()
	for _, name := range names {
		for w, n := range l.acked {
			resp, err := l.c.clients[name].Get(l.c.ctx, fmt.Sprintf("/load/%d", w))
			require.NoError(l.c.t, err)
			have, err := strconv.Atoi(string(resp.Kvs[0].Value))
			require.NoError(l.c.t, err)
			require.GreaterOrEqual(l.c.t, have, n, "an acknowledged write is lost at %s", name)
		}
	}
}

// TestProcesses grows a cluster from one to five members under load, kills every minority that there is a name for,
// and shrinks it to three.
func TestProcesses(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.start("a", "")
	l := c.load(4)
	l.goesOn(10)
	c.start("b", "a")
	c.start("c", "b")
	l.goesOn(10)
	leader, _ := c.leader("b")
	c.kill(leader)
	t.Logf("leader of three killed: next write after %s", l.goesOn(1))
	l.goesOn(20)
	c.restart(leader)
	c.start("d", "c")
	c.start("e", "a")
	names, ids := c.names("e")
	require.ElementsMatch(t, []string{"a", "b", "c", "d", "e"}, names)
	l.goesOn(20)

	leader, others := c.leader("d")
	c.kill(leader, others[0])
	t.Logf("leader and a follower of five killed: next write after %s", l.goesOn(1))
	l.goesOn(20)
	c.restart(others[0])
	c.restart(leader)
	l.goesOn(20)

	require.NoError(t, c.members["e"].Leave(c.ctx))
	<-c.members["e"].Ended()
	require.NoError(t, c.members["e"].Err())
	c.close("e")
	p, err := membertest.Start(c.members["e"].Config(), nil)
	require.NoError(t, err)
	require.ErrorContains(t, p.Ready(c.ctx), "left the cluster")
	<-p.Ended()

	c.kill("d")
	require.NoError(t, c.members["a"].Remove(c.ctx, ids["d"]))
	names, _ = c.names("a")
	require.ElementsMatch(t, []string{"a", "b", "c"}, names)
	_, others = c.leader("a")
	c.kill(others[0])
	l.goesOn(20)
	c.restart(others[0])
	l.goesOn(20)
	l.end()
	l.check("a", "b", "c")
	n, _ := l.count()
	t.Logf("%d writes acknowledged, 0 lost", n)
	require.NoError(t, c.members["a"].Stop(c.ctx))
}
