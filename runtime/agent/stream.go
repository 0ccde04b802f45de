package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/runtime"
)

// The channels of the remote command protocol: the first byte of every message. Version 5 can close one by
// channel 255 (KEP-4006).
const (
	channelStdin = iota
	channelStdout
	channelStderr
	channelError
	channelResize
	channelClose = 255
)

const (
	protocolV4 = "v4.channel.k8s.io"
	protocolV5 = "v5.channel.k8s.io"
	// mostMessageIn bounds one message of a client, in bytes.
	mostMessageIn = 1 << 20
)

// session is one exec or attach over a WebSocket.
type session struct {
	conn   *websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex // orders writes
	stdin  *io.PipeWriter
	resize chan runtime.TermSize
}

// accept upgrades a request. What the client asked for is in the query: stdin, stdout, stderr, tty.
func accept(w http.ResponseWriter, r *http.Request) (*session, runtime.Streams, error) {
	q := r.URL.Query()
	asks := func(names ...string) bool {
		for _, n := range names {
			if v := q.Get(n); v == "1" || v == "true" {
				return true
			}
		}
		return false
	}
	in, out, errs, tty := asks("input", "stdin"), asks("output", "stdout"), asks("error", "stderr"), asks("tty")
	if !in && !out && !errs {
		return nil, runtime.Streams{}, apierrors.NewBadRequest("you must specify at least 1 of stdin, stdout, stderr")
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{protocolV5, protocolV4}, InsecureSkipVerify: true})
	if err != nil {
		return nil, runtime.Streams{}, errAnswered
	}
	if conn.Subprotocol() == "" {
		return nil, runtime.Streams{}, errors.Join(errAnswered, conn.Close(websocket.StatusPolicyViolation, "no subprotocol in common: offer "+protocolV5))
	}
	conn.SetReadLimit(mostMessageIn)
	s := &session{conn: conn, resize: make(chan runtime.TermSize, 1)}
	s.ctx, s.cancel = context.WithCancel(r.Context())
	streams := runtime.Streams{Resize: s.resize}
	if in {
		var pipe *io.PipeReader
		pipe, s.stdin = io.Pipe()
		streams.Stdin = pipe
	}
	if out {
		streams.Stdout = channel{s, channelStdout}
	}
	if errs && !tty {
		streams.Stderr = channel{s, channelStderr}
	}
	return s, streams, nil
}

// errAnswered is an error that the client has been told already.
var errAnswered = errors.New("answered")

// channel writes to one channel of a session.
type channel struct {
	s  *session
	id byte
}

func (c channel) Write(p []byte) (int, error) {
	const most = 32 << 10
	for written := 0; written < len(p); {
		n := min(len(p)-written, most)
		if err := c.s.send(c.id, p[written:written+n]); err != nil {
			return written, err
		}
		written += n
	}
	return len(p), nil
}

func (s *session) send(id byte, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn.Write(s.ctx, websocket.MessageBinary, append([]byte{id}, p...))
}

// receive takes in what the client sends until it goes or the session ends.
func (s *session) receive() {
	defer s.cancel()
	defer s.closeStdin()
	for {
		_, m, err := s.conn.Read(s.ctx)
		if err != nil {
			return
		}
		if len(m) == 0 {
			continue
		}
		switch m[0] {
		case channelStdin:
			if s.stdin != nil && len(m) > 1 {
				if _, err := s.stdin.Write(m[1:]); err != nil {
					s.stdin = nil // the command reads no more
				}
			}
		case channelResize:
			s.resized(m[1:])
		case channelClose:
			if len(m) > 1 && m[1] == channelStdin {
				s.closeStdin()
			}
		}
	}
}

func (s *session) closeStdin() {
	if s.stdin != nil {
		_ = s.stdin.Close() // never fails
		s.stdin = nil
	}
}

// resized hands on the newest size of the client's terminal.
func (s *session) resized(m []byte) {
	var size runtime.TermSize
	if json.Unmarshal(m, &size) != nil {
		return
	}
	select {
	case <-s.resize:
	default:
	}
	s.resize <- size
}

// finish tells the client how the command ended, and closes the session.
func (s *session) finish(code int, err error) {
	status := metav1.Status{Status: metav1.StatusSuccess}
	switch {
	case err != nil:
		status = metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: http.StatusInternalServerError, Message: err.Error()}
	case code != 0:
		status = metav1.Status{
			Status: metav1.StatusFailure, Reason: "NonZeroExitCode",
			Message: fmt.Sprintf("command terminated with non-zero exit code: exit status %d", code),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "ExitCode", Message: fmt.Sprint(code)}}},
		}
	}
	// A client that has gone can't be told, and needs not be.
	if b, err := json.Marshal(status); err == nil && s.send(channelError, b) == nil {
		_ = s.conn.Close(websocket.StatusNormalClosure, "")
	} else {
		_ = s.conn.CloseNow()
	}
	s.cancel()
}

// serveExec runs a command in a container for a client.
func (a *Agent) serveExec(w http.ResponseWriter, r *http.Request) {
	a.serveStreams(w, r, func(ctx context.Context, id string, streams runtime.Streams) (int, error) {
		q := r.URL.Query()
		tty := q.Get("tty") == "1" || q.Get("tty") == "true"
		return a.c.Runtime.Exec(ctx, id, runtime.ExecSpec{Args: q["command"], TTY: tty, Streams: streams})
	})
}

// serveAttach connects a client to a container's own streams.
func (a *Agent) serveAttach(w http.ResponseWriter, r *http.Request) {
	a.serveStreams(w, r, func(ctx context.Context, id string, streams runtime.Streams) (int, error) {
		return 0, a.c.Runtime.Attach(ctx, id, streams)
	})
}

func (a *Agent) serveStreams(w http.ResponseWriter, r *http.Request, do func(context.Context, string, runtime.Streams) (int, error)) {
	c, err := a.target(r, false)
	if err == nil && c.State != runtime.StateRunning {
		err = apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q does not run: it is %s", r.PathValue("container"), r.PathValue("pod"), c.State))
	}
	if err != nil {
		fail(w, err)
		return
	}
	s, streams, err := accept(w, r)
	if err != nil {
		if !errors.Is(err, errAnswered) {
			fail(w, err)
		}
		return
	}
	received := make(chan struct{})
	go func() { defer close(received); s.receive() }()
	code, err := do(s.ctx, c.Spec.ID, streams)
	if in, ok := streams.Stdin.(*io.PipeReader); ok {
		_ = in.Close() // frees receive
	}
	s.finish(code, err)
	select {
	case <-received:
	case <-time.After(time.Minute): // bounded: the connection is closed
	}
}
