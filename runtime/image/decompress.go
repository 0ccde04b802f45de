//go:build linux

package image

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow bounds what a frame may make the decoder hold; the usual levels of zstd take 8 MiB at most.
const maxZstdWindow = 64 << 20

// decompress finds out how a layer is compressed by looking, as media types often say otherwise; the
// digests decide in the end.
func decompress(br *bufio.Reader) (io.ReadCloser, error) {
	magic, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("%w layer: %v", ErrInvalid, err)
		}
		return r, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18}):
		r, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, fmt.Errorf("%w layer: %v", ErrInvalid, err)
		}
		return r.IOReadCloser(), nil
	}
	return io.NopCloser(br), nil
}

// ahead reads a stream in a goroutine of its own, a few buffers ahead of its reader: decompressing and writing files
// then take a processor each.
type ahead struct {
	full chan []byte
	free chan []byte
	stop chan struct{}
	cur  []byte // what is left of held
	held []byte
	err  error // set before full is closed
}

const (
	aheadBuffers = 4
	aheadBuffer  = 256 << 10
)

func readAhead(r io.Reader) *ahead {
	a := &ahead{full: make(chan []byte, aheadBuffers), free: make(chan []byte, aheadBuffers), stop: make(chan struct{})}
	for range aheadBuffers {
		a.free <- make([]byte, aheadBuffer)
	}
	go a.run(r)
	return a
}

func (a *ahead) run(r io.Reader) {
	defer close(a.full)
	for {
		select {
		case buf := <-a.free:
			n, err := fill(r, buf)
			a.full <- buf[:n] // never blocks: there are no more buffers than room
			if err != nil {
				a.err = err
				return
			}
		case <-a.stop:
			a.err = io.ErrClosedPipe
			return
		}
	}
}

// fill is io.ReadFull that keeps the reader's own error.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.cur) == 0 {
		if a.held != nil {
			a.free <- a.held[:cap(a.held)]
			a.held = nil
		}
		buf, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.cur, a.held = buf, buf
	}
	n := copy(p, a.cur)
	a.cur = a.cur[n:]
	return n, nil
}

// close ends the goroutine and waits for it. The source's own Read must have a way to end.
func (a *ahead) close() {
	close(a.stop)
	for range a.full {
	}
}
