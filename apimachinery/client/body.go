package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/bedplate/bedplate/apimachinery"
)

// MaxAnswer is the size in bytes of the largest answer that is read whole, lists included; a larger one is an
// error that says to use pages.
const MaxAnswer = 1 << 30

func readAll(resp *apimachinery.Response) ([]byte, error) {
	if resp.Stream == nil {
		return resp.Body, nil
	}
	defer resp.Stream.Close()
	b := &capped{left: MaxAnswer}
	if w, ok := resp.Stream.(io.WriterTo); ok {
		_, err := w.WriteTo(b)
		return b.Bytes(), err
	}
	_, err := io.Copy(b, resp.Stream)
	return b.Bytes(), err
}

// capped is a buffer with a limit.
type capped struct {
	buf  bytes.Buffer
	left int
}

func (c *capped) Bytes() []byte { return c.buf.Bytes() }

func (c *capped) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		return 0, fmt.Errorf("the answer is larger than %d bytes: read it in pages", MaxAnswer)
	}
	return c.buf.Write(p)
}

// lineReader cuts a stream into lines, without copying those that fit its buffer.
type lineReader struct {
	from       io.Reader
	limit      int
	buf        []byte
	start, end int
	err        error
}

var errLong = errors.New("the server sent an event that is too large")

// next returns the next line that is not blank, without its newline; it is good until the next call. A last line without
// one is returned too; then io.EOF.
func (l *lineReader) next() ([]byte, error) {
	scanned := 0
	for {
		have := l.buf[l.start:l.end]
		if i := bytes.IndexByte(have[scanned:], '\n'); i >= 0 {
			l.start += scanned + i + 1
			scanned = len(have[:scanned+i])
			if line := bytes.TrimSpace(have[:scanned]); len(line) > 0 {
				return line, nil
			}
			scanned = 0
			continue
		}
		scanned = len(have)
		if l.err != nil {
			return l.last()
		}
		l.fill()
	}
}

func (l *lineReader) last() ([]byte, error) {
	line := bytes.TrimSpace(l.buf[l.start:l.end])
	l.start = l.end
	if len(line) > 0 && errors.Is(l.err, io.EOF) {
		return line, nil
	}
	return nil, l.err
}

// fill reads once more, after making room.
func (l *lineReader) fill() {
	if l.start > 0 {
		l.end = copy(l.buf, l.buf[l.start:l.end])
		l.start = 0
	}
	if l.end == len(l.buf) {
		if l.end >= l.limit {
			l.err = errLong
			return
		}
		grown := make([]byte, min(l.limit, max(16<<10, 2*len(l.buf))))
		copy(grown, l.buf[:l.end])
		l.buf = grown
	}
	n, err := l.from.Read(l.buf[l.end:])
	l.end += n
	l.err = err
}
