package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime"
)

// logOptions are those of kubectl logs.
type logOptions struct {
	follow, timestamps bool
	tail               int64 // lines; -1: all
	limit              int64 // bytes; 0: none
	since              time.Time
	stream             string
}

// tail reads a log as it grows, over rotations.
type tail struct {
	root, path string
	o          logOptions
	f          *os.File // nil: not there yet
	lines      lines
}

// openTail opens a container's log where reading shall begin: of one that was rotated, in the newest file. One that
// is missing is empty. The error is that what is there is no log.
func (a *Agent) openTail(c runtime.ContainerStatus, o logOptions) (*tail, error) {
	t := &tail{root: a.c.Dir, path: c.Spec.Log.Path, o: o, lines: lines{o: o}}
	f, err := t.newer()
	if err != nil || f == nil {
		return t, err
	}
	t.f = f
	if o.tail >= 0 {
		err = seekTail(f, o.tail)
	}
	return t, err
}

func (t *tail) close() {
	if t.f != nil {
		t.f.Close()
	}
}

// copyLog writes a container's log, following it as it grows until the container has ended if that is asked for.
func (a *Agent) copyLog(ctx context.Context, w io.Writer, id string, t *tail) error {
	if t.lines.w = w; t.o.limit > 0 {
		t.lines.w = &capped{w, t.o.limit}
	}
	if !t.o.follow {
		return done(t.next())
	}
	changed, stop, err := watchFolder(filepath.Dir(t.path))
	if err != nil {
		return err
	}
	defer stop()
	ended := a.ends(ctx, id)
	for last := false; ; {
		if err := t.next(); err != nil || last {
			return done(err)
		}
		select {
		case <-changed:
		case <-ended:
			last = true
		case <-ctx.Done():
			return nil
		}
	}
}

// next copies what there is.
func (t *tail) next() error {
	for {
		if t.f != nil {
			if err := t.lines.copy(t.f); err != nil {
				return err
			}
		}
		newer, err := t.newer()
		if err != nil || newer == nil {
			return err
		}
		if t.f != nil {
			err = t.lines.copy(t.f) // what was written before the rotation
			t.f.Close()
		}
		if t.f = newer; err != nil {
			return err
		}
	}
}

// newer is the file that comes after the one that is open, or, if none is, the newest. nil: there is none.
func (t *tail) newer() (*os.File, error) {
	next, err := openPlain(t.root, t.path)
	if err != nil || t.f == nil {
		return ifThere(next, err)
	}
	// The log may have been rotated more than once: ours is path.1 or path.2 by now, and what lies between is next.
	const most = 100 // more than anybody keeps
	for n := 1; n <= most; n++ {
		if same, err := sameFile(next, t.f); same || err != nil {
			return nil, errors.Join(err, next.Close())
		}
		older, err := openPlain(t.root, t.path+"."+strconv.Itoa(n))
		if errors.Is(err, fs.ErrNotExist) {
			return next, nil // ours is gone: the oldest that there is comes next
		}
		if err != nil {
			return nil, errors.Join(err, next.Close())
		}
		if same, err := sameFile(older, t.f); same || err != nil {
			older.Close()
			return next, err
		}
		next.Close() // also if both are one file, because it was rotated just now
		next = older
	}
	return next, nil
}

func ifThere(f *os.File, err error) (*os.File, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

func sameFile(a, b *os.File) (bool, error) {
	x, errA := a.Stat()
	y, errB := b.Stat()
	if err := errors.Join(errA, errB); err != nil {
		return false, err
	}
	return os.SameFile(x, y), nil
}

// ends is closed when a container has exited.
func (a *Agent) ends(ctx context.Context, id string) <-chan struct{} {
	ch := make(chan struct{})
	go func() {
		defer close(ch)
		_, _ = a.c.Runtime.Wait(ctx, id) // its end, its absence and ours are all ends
	}()
	return ch
}

// errCapped ends a copy that was long enough.
var errCapped = errors.New("enough")

func done(err error) error {
	if errors.Is(err, errCapped) {
		return nil
	}
	return err
}

// capped writes so many bytes and no more.
type capped struct {
	w    io.Writer
	left int64
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(int64(len(p)), c.left)
	c.left -= n
	if _, err := c.w.Write(p[:n]); err != nil {
		return 0, err
	}
	if c.left == 0 {
		return int(n), errCapped
	}
	return len(p), nil
}

// mostEntry is more than any entry of a log has, in bytes.
const mostEntry = 64 << 10

// lines copies whole lines of a CRI log: "time stream tag text".
type lines struct {
	w    io.Writer
	o    logOptions
	part []byte // of a line that is not all there yet
	mid  bool   // the last text was a partial line
}

func (l *lines) copy(r io.Reader) error {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		chunk, err := br.ReadSlice('\n')
		if l.part = append(l.part, chunk...); len(l.part) > mostEntry {
			return fmt.Errorf("an entry of the log is longer than %d bytes", mostEntry)
		}
		if err == nil {
			if err := l.line(l.part); err != nil {
				return err
			}
			l.part = l.part[:0]
			continue
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

func (l *lines) line(line []byte) error {
	stamp, rest, _ := bytes.Cut(line, []byte(" "))
	stream, rest, _ := bytes.Cut(rest, []byte(" "))
	tag, text, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return nil // a line that a crash cut off
	}
	if l.o.stream == "Stdout" && string(stream) != "stdout" || l.o.stream == "Stderr" && string(stream) != "stderr" {
		return nil
	}
	if !l.o.since.IsZero() {
		t, err := time.Parse(time.RFC3339Nano, string(stamp))
		if err == nil && t.Before(l.o.since) {
			return nil
		}
	}
	partial := bytes.HasPrefix(tag, []byte("P"))
	if partial {
		text = bytes.TrimSuffix(text, []byte("\n"))
	}
	if l.o.timestamps && !l.mid {
		text = append(append(bytes.Clone(stamp), ' '), text...)
	}
	l.mid = partial
	_, err := l.w.Write(text)
	return err
}

// seekTail moves to where the last n lines begin. A line that was written in parts counts once.
func seekTail(f *os.File, n int64) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return err
	}
	buf := make([]byte, 64<<10)
	begin := end // of the entry that was passed last
	for at := end; at > 0; {
		size := min(at, int64(len(buf)))
		at -= size
		if _, err := f.ReadAt(buf[:size], at); err != nil {
			return err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' || at+i+1 == end {
				continue
			}
			// The entry from here to begin: if it is whole, a line begins after it.
			if begin < end && isWhole(f, at+i+1) {
				if n--; n == 0 {
					_, err := f.Seek(begin, io.SeekStart)
					return err
				}
			}
			begin = at + i + 1
		}
	}
	if begin == end || n > 1 || !isWhole(f, 0) {
		begin = 0
	}
	_, err = f.Seek(begin, io.SeekStart)
	return err
}

// isWhole says whether the entry at an offset is not a part that others follow.
func isWhole(f *os.File, at int64) bool {
	head := make([]byte, 64)
	n, _ := f.ReadAt(head, at) // what can't be read is seen when it is copied
	fields := bytes.SplitN(head[:n], []byte(" "), 4)
	return len(fields) < 3 || !bytes.HasPrefix(fields[2], []byte("P"))
}

// logTail is the end of a log, as text.
func (a *Agent) logTail(path string) string {
	f, err := openPlain(a.c.Dir, path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if err := seekTail(f, mostLogLines); err != nil {
		return ""
	}
	var b bytes.Buffer
	l := &lines{w: &b}
	if err := l.copy(io.LimitReader(f, mostLogToSearch)); err != nil {
		return ""
	}
	s := b.Bytes()
	return string(s[max(len(s)-mostLogMessage, 0):])
}

// watchFolder gives a token whenever a file in a folder may have grown, been replaced or removed.
func watchFolder(dir string) (<-chan struct{}, func(), error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	// A non-blocking descriptor in an os.File: Close ends its Read.
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_MODIFY|unix.IN_DELETE); err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	ch := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 16<<10)
		for {
			if _, err := f.Read(buf); err != nil {
				return
			}
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	}()
	return ch, func() { f.Close(); <-ended }, nil
}
