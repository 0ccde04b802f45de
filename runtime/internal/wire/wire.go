//go:build linux

// Package wire frames messages between agent and launcher: a length, JSON, and file
// descriptors that travel with them, over a unix stream socket.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// MaxMessage bounds a message in bytes; an exec's arguments and environment fit, as the
// kernel takes 2 MiB of them.
const MaxMessage = 4 << 20

// MaxFiles bounds the descriptors of one message.
const MaxFiles = 4

// Conn is one end. One goroutine may send while another receives.
type Conn struct {
	*net.UnixConn
	pending []*os.File
}

// Send writes v with copies of files.
func (c *Conn) Send(v any, files ...*os.File) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if len(b) > MaxMessage {
		return fmt.Errorf("send: message of %d bytes exceeds %d", len(b), MaxMessage)
	}
	oob, err := rights(files)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	defer closeAll(oob.dups)
	msg := append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
	n, _, err := c.WriteMsgUnix(msg, oob.bytes, nil)
	for err == nil && n < len(msg) {
		var m int
		m, err = c.Write(msg[n:])
		n += m
	}
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// control is a control message and the duplicates that it names.
type control struct {
	bytes []byte
	dups  []int
}

func rights(files []*os.File) (control, error) {
	var c control
	for _, f := range files {
		fd, err := Dup(f)
		if err != nil {
			closeAll(c.dups)
			return control{}, err
		}
		c.dups = append(c.dups, fd)
	}
	if len(c.dups) > 0 {
		c.bytes = unix.UnixRights(c.dups...)
	}
	return c, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// Receive reads one message into v and returns the descriptors that came with it, which
// the caller owns. io.EOF means that the other end closed between messages.
func (c *Conn) Receive(v any) ([]*os.File, error) {
	var head [4]byte
	if err := c.readFull(head[:]); err != nil {
		return nil, c.fail(err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > MaxMessage {
		return nil, c.fail(fmt.Errorf("receive: message of %d bytes exceeds %d", size, MaxMessage))
	}
	body := make([]byte, size)
	if err := c.readFull(body); err != nil {
		return nil, c.fail(err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return nil, c.fail(fmt.Errorf("receive: %w", err))
	}
	files := c.pending
	c.pending = nil
	return files, nil
}

func (c *Conn) fail(err error) error {
	Close(c.pending...)
	c.pending = nil
	return err
}

// readFull fills b and collects descriptors. They arrive with the first byte of the
// message that they were sent with.
func (c *Conn) readFull(b []byte) error {
	oob := make([]byte, unix.CmsgSpace(MaxFiles*4))
	for read := 0; read < len(b); {
		n, on, flags, _, err := c.ReadMsgUnix(b[read:], oob)
		if on > 0 {
			if err := c.collect(oob[:on]); err != nil {
				return err
			}
		}
		switch {
		case err != nil && errors.Is(err, io.EOF), err == nil && n == 0:
			if read > 0 {
				return io.ErrUnexpectedEOF
			}
			return io.EOF
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		case flags&unix.MSG_CTRUNC != 0:
			return errors.New("receive: too many descriptors")
		}
		read += n
	}
	return nil
}

func (c *Conn) collect(oob []byte) error {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			c.pending = append(c.pending, os.NewFile(uintptr(fd), "passed"))
		}
	}
	if len(c.pending) > MaxFiles {
		return errors.New("receive: too many descriptors")
	}
	return nil
}

// Close closes files, nil ones excepted.
func Close(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// Pollable takes over f and returns it as a file of Go's poller, so that reads and writes
// block no thread and end on Close. It makes the descriptor non-blocking for
// everybody who shares it.
func Pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := Dup(f)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set non-blocking: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Dup duplicates f's descriptor and leaves its mode alone, which (*os.File).Fd does not.
func Dup(f *os.File) (int, error) {
	rc, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	dup := -1
	var derr error
	if err := rc.Control(func(fd uintptr) { dup, derr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3) }); err != nil {
		return -1, err
	}
	if derr != nil {
		return -1, fmt.Errorf("duplicate descriptor: %w", derr)
	}
	return dup, nil
}

// Pipe makes a pipe of which one end is for another process, which wants to block, and the
// other for Go's poller.
func Pipe(theirsReads bool) (ours, theirs *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	o, t := p[0], p[1]
	if theirsReads {
		o, t = p[1], p[0]
	}
	if err := unix.SetNonblock(o, true); err != nil {
		_ = unix.Close(o)
		_ = unix.Close(t)
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	return os.NewFile(uintptr(o), "pipe"), os.NewFile(uintptr(t), "pipe"), nil
}
