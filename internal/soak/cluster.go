//go:build linux

package soak

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// process is one life of a member.
type process struct {
	cmd   *exec.Cmd
	ready chan struct{} // closed when it lets clients in
	done  chan struct{} // closed when it has ended; then err and log are set
	err   error
}

// start runs this program as a member. What it writes to the standard error goes to the log file.
func start(c memberConfig, log string, spawn func(func() error) error) (*process, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{cmd: exec.Command(self), ready: make(chan struct{}), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), memberEnv+"="+string(text))
	p.cmd.Stderr = out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if c.Image != "" {
		p.cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if spawn == nil {
		spawn = func(f func() error) error { return f() }
	}
	if err := spawn(p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start member: %w", err)
	}
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if lines.Text() == "ready" {
				close(p.ready)
			}
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends it at once, even if it is stopped.
func (p *process) kill() {
	_ = p.signal(syscall.SIGKILL) // an error: it has ended already
	<-p.done
}

// await returns nil once it lets clients in, and an error if it ends before or limit passes.
func (p *process) await(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-p.ready:
		return nil
	case <-p.done:
		return fmt.Errorf("member ended while it started: %w", p.err)
	case <-ctx.Done():
		return fmt.Errorf("member not ready within %s: %w", limit, ctx.Err())
	}
}

// member is one of three.
type member struct {
	c    memberConfig
	log  string
	n    int
	etcd *clientv3.Client // to it alone

	mu sync.Mutex
	p  *process
}

func (m *member) life() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.p
}

func (m *member) start(n *network) error {
	p, err := start(m.c, m.log, func(f func() error) error { return n.inside(m.n, f) })
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.p = p
	return nil
}

// cluster is three members and their network.
type cluster struct {
	dir     string
	net     *network
	members []*member
	all     *clientv3.Client // over all members
}

const startLimit = 90 * time.Second

// newCluster starts members, the second and third by invitation.
func newCluster(ctx context.Context, dir string, members int) (c *cluster, err error) {
	c = &cluster{dir: dir}
	defer func() {
		if err != nil {
			err = fmt.Errorf("make cluster: %w%s", err, c.logs())
			c.close()
		}
	}()
	if c.net, err = newNetwork(members); err != nil {
		return c, err
	}
	for i := range members {
		if err := c.add(ctx, i); err != nil {
			return c, err
		}
	}
	var endpoints []string
	for _, m := range c.members {
		endpoints = append(endpoints, "unix://"+m.c.Etcd)
	}
	c.all, err = dialEtcd(endpoints...)
	return c, err
}

func dialEtcd(endpoints ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: 2 * time.Second, Logger: zap.NewNop(),
		DialKeepAliveTime: time.Second, DialKeepAliveTimeout: time.Second,
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond},
		})},
	})
}

func (c *cluster) add(ctx context.Context, i int) (err error) {
	name := fmt.Sprintf("m%d", i)
	m := &member{n: i, log: filepath.Join(c.dir, name+".log"), c: memberConfig{
		Dir: filepath.Join(c.dir, name), Socket: filepath.Join(c.dir, name+".sock"),
		Etcd: filepath.Join(c.dir, name+".etcd"), Listen: c.net.address(i) + ":2380",
	}}
	if i > 0 {
		first := &socketDoor{path: c.members[0].c.Socket}
		defer first.Close()
		a, err := first.ask(ctx, request{Op: "invite", Key: name})
		if err != nil {
			return fmt.Errorf("invite %s: %w", name, err)
		}
		if err := m.c.Join.UnmarshalText([]byte(a.Text)); err != nil {
			return err
		}
	}
	if m.etcd, err = dialEtcd("unix://" + m.c.Etcd); err != nil {
		return err
	}
	c.members = append(c.members, m)
	if err := m.start(c.net); err != nil {
		return err
	}
	if err := m.life().await(ctx, startLimit); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	m.c.Join = embedded.Invitation{}
	return nil
}

// mend starts, wakes and connects all members, and returns when they let clients in.
func (c *cluster) mend(ctx context.Context) error {
	for _, m := range c.members {
		if err := c.net.plug(m.n, true); err != nil {
			return err
		}
		if p := m.life(); p.running() {
			_ = p.signal(syscall.SIGCONT) // an error: it has just ended, as the next lines see
			continue
		}
		if err := m.start(c.net); err != nil {
			return err
		}
	}
	for _, m := range c.members {
		if err := m.life().await(ctx, startLimit); err != nil {
			return fmt.Errorf("mend m%d: %w%s", m.n, err, c.logs())
		}
	}
	return nil
}

// leader is the number of the member that leads, as any member that answers knows; -1: nobody knows.
func (c *cluster) leader(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	out := make(chan int, len(c.members))
	for _, m := range c.members {
		go func() {
			s, err := m.etcd.Status(ctx, "unix://"+m.c.Etcd)
			if err == nil && s.Leader == s.Header.MemberId {
				out <- m.n
			} else {
				out <- -1
			}
		}()
	}
	for range c.members {
		if n := <-out; n >= 0 {
			return n
		}
	}
	return -1
}

// hashes returns the hash of everything stored up to a revision, of each member.
func (c *cluster) hashes(ctx context.Context, rev int64) ([]string, error) {
	var out []string
	for _, m := range c.members {
		h, err := m.etcd.HashKV(ctx, "unix://"+m.c.Etcd, rev)
		if err != nil {
			return nil, fmt.Errorf("hash of m%d: %w", m.n, err)
		}
		out = append(out, fmt.Sprintf("%08x at %d from %d", h.Hash, h.HashRevision, h.CompactRevision))
	}
	return out, nil
}

// logs is the end of what the members have said.
func (c *cluster) logs() string {
	var b strings.Builder
	for _, m := range c.members {
		fmt.Fprintf(&b, "\n--- m%d:\n%s", m.n, tail(m.log, 1500))
	}
	return b.String()
}

func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-n):])
}

func (c *cluster) close() {
	for _, m := range c.members {
		if p := m.life(); p != nil {
			p.kill()
		}
		if m.etcd != nil {
			_ = m.etcd.Close() // an error says that its context has ended
		}
	}
	if c.all != nil {
		_ = c.all.Close()
	}
	if c.net != nil {
		c.net.close()
	}
}
