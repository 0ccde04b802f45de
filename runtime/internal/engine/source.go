//go:build linux

package engine

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// chunk is the most that is taken from a stream at once: what a pipe holds.
const chunk = 64 << 10

// A source is what a container's output comes from. Bytes stay in it until consumed, so
// that a launcher that dies between reading and writing loses none.
type source interface {
	// wait blocks until there are bytes that peek has not shown yet (true), or the stream
	// has ended or was interrupted (false).
	wait() bool
	// peek returns unconsumed bytes, at most chunk of them; valid until the next call.
	peek() ([]byte, error)
	// consume drops the first n bytes that peek returned.
	consume(n int) error
	// interrupt makes wait return false from now on.
	interrupt()
	io.Closer
}

// fifo is a pipe. Peeking duplicates its contents into another pipe, without copying.
type fifo struct {
	f    *os.File
	rc   syscall.RawConn
	seen int // unconsumed bytes that peek has shown
	buf  *scratch
}

func newFifo(f *os.File) (*fifo, error) {
	rc, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &fifo{f: f, rc: rc}, nil
}

func (s *fifo) wait() (more bool) {
	s.release()
	err := s.rc.Read(func(fd uintptr) bool {
		n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
		if err != nil || n > s.seen {
			more = err == nil
			return true
		}
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		_, err = unix.Poll(p, 0)
		return err == nil && p[0].Revents&unix.POLLHUP != 0
	})
	return more && err == nil
}

func (s *fifo) peek() ([]byte, error) {
	if s.buf == nil {
		b, err := getScratch()
		if err != nil {
			return nil, err
		}
		s.buf = b
	}
	var n int
	var terr error
	if err := s.control(func(fd int) {
		var m int64
		m, terr = unix.Tee(fd, s.buf.w, chunk, unix.SPLICE_F_NONBLOCK)
		n = int(m)
	}); err != nil {
		return nil, err
	}
	if errors.Is(terr, unix.EAGAIN) || terr == nil && n == 0 {
		s.seen = 0
		return nil, nil
	}
	if terr != nil {
		return nil, os.NewSyscallError("tee", terr)
	}
	for read := 0; read < n; {
		m, err := unix.Read(s.buf.r, s.buf.bytes[read:n])
		if err != nil || m == 0 {
			return nil, errors.Join(errors.New("read duplicate of a pipe"), err)
		}
		read += m
	}
	s.seen = n
	return s.buf.bytes[:n], nil
}

func (s *fifo) consume(n int) error {
	var serr error
	err := s.control(func(fd int) {
		for n > 0 && serr == nil {
			var m int64
			m, serr = unix.Splice(fd, nil, s.buf.null, nil, n, unix.SPLICE_F_NONBLOCK)
			if m == 0 && serr == nil {
				serr = io.ErrUnexpectedEOF
			}
			n -= int(m)
			s.seen -= int(m)
		}
	})
	return errors.Join(err, os.NewSyscallError("splice", serr))
}

// control runs f without Go's poller, and unlike RawConn.Control also after interrupt.
func (s *fifo) control(f func(fd int)) error {
	return s.rc.Control(func(fd uintptr) { f(int(fd)) })
}

func (s *fifo) interrupt() { _ = s.f.SetReadDeadline(time.Unix(1, 0)) }

func (s *fifo) release() {
	if s.buf != nil {
		putScratch(s.buf)
		s.buf = nil
	}
}

func (s *fifo) Close() error {
	s.release()
	return s.f.Close()
}

// terminal is the master of a pseudo-terminal. It can't be peeked: what was read but
// not written when a launcher dies is lost.
type terminal struct {
	f    *os.File
	rc   syscall.RawConn
	buf  []byte
	seen int
}

func newTerminal(f *os.File) (*terminal, error) {
	rc, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &terminal{f: f, rc: rc}, nil
}

func (s *terminal) wait() (more bool) {
	if len(s.buf) > s.seen {
		return true
	}
	err := s.rc.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		more = err == nil && p[0].Revents&unix.POLLIN != 0
		return err == nil && n > 0
	})
	return more && err == nil
}

func (s *terminal) peek() ([]byte, error) {
	for len(s.buf) < chunk {
		start := len(s.buf)
		s.buf = append(s.buf, make([]byte, 4096)...)
		var n int
		var rerr error
		err := s.rc.Control(func(fd uintptr) { n, rerr = unix.Read(int(fd), s.buf[start:]) })
		n = max(n, 0)
		s.buf = s.buf[:start+n]
		if err != nil {
			return nil, err
		}
		if rerr != nil || n == 0 { // nothing now, or no slave any more
			break
		}
	}
	s.seen = len(s.buf)
	return s.buf, nil
}

func (s *terminal) consume(n int) error {
	s.buf = append(s.buf[:0], s.buf[n:]...)
	s.seen -= n
	return nil
}

func (s *terminal) interrupt()   { _ = s.f.SetReadDeadline(time.Unix(1, 0)) }
func (s *terminal) Close() error { return s.f.Close() }

// scratch is what peeking at a pipe takes. Streams have one only while they are busy.
type scratch struct {
	r, w, null int
	bytes      []byte
}

// spare keeps a few of them for reuse.
var spare struct {
	sync.Mutex
	list []*scratch
}

const maxSpare = 4

func getScratch() (*scratch, error) {
	spare.Lock()
	if n := len(spare.list); n > 0 {
		b := spare.list[n-1]
		spare.list = spare.list[:n-1]
		spare.Unlock()
		return b, nil
	}
	spare.Unlock()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	null, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(p[0])
		_ = unix.Close(p[1])
		return nil, os.NewSyscallError("open /dev/null", err)
	}
	return &scratch{r: p[0], w: p[1], null: null, bytes: make([]byte, chunk)}, nil
}

func putScratch(b *scratch) {
	spare.Lock()
	defer spare.Unlock()
	if len(spare.list) < maxSpare {
		spare.list = append(spare.list, b)
		return
	}
	for _, fd := range []int{b.r, b.w, b.null} {
		_ = unix.Close(fd)
	}
}
