package membertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// Process is a member that runs in a process of its own. All methods may be called concurrently.
type Process struct {
	c     embedded.Config
	cmd   *exec.Cmd
	in    io.WriteCloser
	ready chan struct{} // closed when the member serves
	ended chan struct{} // closed when the process has ended

	mu       sync.Mutex
	endpoint string // set before ready is closed
	err      error  // set before ended is closed
	last     int
	calls    map[int]chan reply
}

// Address returns an address of this machine at which nothing listens.
func Address() (string, error) {
	for range 100 {
		// Below the ports that the system gives to connections.
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000)))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", errors.New("find free address: none in 100 tries")
}

// Start starts a process that is a member. Its configuration must have no Log: warnings go to log, which nil
// discards. To be used by Client, it needs a ClientListen "https://127.0.0.1:0".
func Start(c embedded.Config, log io.Writer) (*Process, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("start member: %w", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start member: %w", err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), variable+"="+string(text))
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start member: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start member: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start member: %w", err)
	}
	p := &Process{
		c: c, cmd: cmd, in: in, ready: make(chan struct{}), ended: make(chan struct{}), calls: map[int]chan reply{},
	}
	go p.read(out)
	return p, nil
}

// read takes what the member says, until it has ended.
func (p *Process) read(out io.Reader) {
	said := errors.New("the process ended without a word")
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r reply
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			continue // the testing package's own words
		}
		switch {
		case r.Ended && r.Error == "":
			said = nil
		case r.Ended:
			said = errors.New(r.Error)
		case r.Number == 0:
			p.mu.Lock()
			p.endpoint = r.Endpoint
			p.mu.Unlock()
			close(p.ready)
		default:
			p.mu.Lock()
			c := p.calls[r.Number]
			delete(p.calls, r.Number)
			p.mu.Unlock()
			c <- r
		}
	}
	if err := p.cmd.Wait(); err != nil {
		said = errors.Join(said, err)
	}
	p.mu.Lock()
	p.err = said
	p.mu.Unlock()
	close(p.ended)
}

// Ready waits until the member serves; it returns an error if it ends before.
func (p *Process) Ready(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-p.ended:
		return errors.Join(errors.New("the member ended before it was ready"), p.Err())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err is what Run returned, or how the process ended; nil before.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Config is what it was started with.
func (p *Process) Config() embedded.Config { return p.c }

// Endpoint is the member's, once it is ready.
func (p *Process) Endpoint() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.endpoint
}

// Client returns a client of the member, to be closed by the caller.
func (p *Process) Client() (*clientv3.Client, error) {
	t, err := embedded.FolderTLS(p.c.Dir)
	if err != nil {
		return nil, err
	}
	return clientv3.New(clientv3.Config{Endpoints: []string{p.Endpoint()}, TLS: t, Logger: zap.NewNop()})
}

// Signal sends a signal: os.Kill, or on unix those that pause and resume a process.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends the process at once, and returns when it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended before
	<-p.ended
}

// Stop ends the member's Run, and returns what that returned. A member that does not end until ctx does is killed.
func (p *Process) Stop(ctx context.Context) error {
	_ = p.in.Close() // it may have ended before
	select {
	case <-p.ended:
		return p.Err()
	case <-ctx.Done():
		p.Kill()
		return ctx.Err()
	}
}

// Invite is Server.Invite.
func (p *Process) Invite(ctx context.Context, name string) (embedded.Invitation, error) {
	r, err := p.call(ctx, request{Op: "invite", Name: name})
	return r.Invite, err
}

// Members is Server.Members.
func (p *Process) Members(ctx context.Context) ([]embedded.Member, error) {
	r, err := p.call(ctx, request{Op: "members"})
	return r.Members, err
}

// Leave is Server.Leave.
func (p *Process) Leave(ctx context.Context) error {
	_, err := p.call(ctx, request{Op: "leave"})
	return err
}

// Remove is Server.Remove.
func (p *Process) Remove(ctx context.Context, id uint64) error {
	_, err := p.call(ctx, request{Op: "remove", ID: id})
	return err
}

func (p *Process) call(ctx context.Context, r request) (reply, error) {
	answer := make(chan reply, 1)
	p.mu.Lock()
	p.last++
	r.Number = p.last
	p.calls[r.Number] = answer
	text, err := json.Marshal(r)
	if err == nil {
		_, err = p.in.Write(append(text, '\n'))
	}
	p.mu.Unlock()
	if err != nil {
		return reply{}, fmt.Errorf("ask member %s: %w", r.Op, err)
	}
	select {
	case a := <-answer:
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-p.ended:
		return reply{}, errors.Join(errors.New("the member has ended"), p.Err())
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
}
