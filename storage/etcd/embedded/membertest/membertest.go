// Package membertest runs members of an embedded etcd as processes of their own, for tests that kill them. The test
// binary is what is run:
//
//	func TestMain(m *testing.M) {
//		if membertest.Main() { // this process is a member, and has ended
//			return
//		}
//		os.Exit(m.Run())
//	}
//
// A member ends when its parent does.
package membertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// variable holds the configuration of a process that is a member.
const variable = "BEDPLATE_TEST_MEMBER"

// request is a line to a member.
type request struct {
	Number int
	Op     string // invite, members, leave, remove
	Name   string
	ID     uint64
}

// reply is a line from a member. Number 0: it is ready, or has ended.
type reply struct {
	Number   int
	Endpoint string
	Invite   embedded.Invitation
	Members  []embedded.Member
	Ended    bool
	Error    string
}

// Main runs a member if this process was started to be one, and tells whether it was.
func Main() bool {
	text, ok := os.LookupEnv(variable)
	if !ok {
		return false
	}
	out := &lines{enc: json.NewEncoder(os.Stdout)}
	out.send(reply{Ended: true, Error: message(run(text, out))})
	return true
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// lines writes replies.
type lines struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func (l *lines) send(r reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.enc.Encode(r) // a parent that does not read has ended
}

func run(text string, out *lines) error {
	var c embedded.Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return fmt.Errorf("configuration of member: %w", err)
	}
	c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := embedded.New(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		serve(ctx, s, out)
		cancel() // the parent has closed our input, or has ended
	}()
	go func() {
		select {
		case <-s.Ready():
			out.send(reply{Endpoint: s.Endpoint()})
		case <-ctx.Done():
		}
	}()
	return s.Run(ctx)
}

// serve does what the parent asks for, until it asks no more.
func serve(ctx context.Context, s *embedded.Server, out *lines) {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			return
		}
		go func() {
			a, err := do(ctx, s, r)
			a.Number, a.Error = r.Number, message(err)
			out.send(a)
		}()
	}
}

func do(ctx context.Context, s *embedded.Server, r request) (a reply, err error) {
	switch r.Op {
	case "invite":
		a.Invite, err = s.Invite(ctx, r.Name)
	case "members":
		a.Members, err = s.Members(ctx)
	case "leave":
		err = s.Leave(ctx)
	case "remove":
		err = s.Remove(ctx, r.ID)
	default:
		err = errors.New("no such operation")
	}
	return a, err
}
