//go:build linux

// Package crilog writes container output into log files in CRI format:
//
//	2026-01-02T03:04:05.000000000Z stdout F a whole line
//	2026-01-02T03:04:05.000000000Z stderr P the first part of a long or unfinished one
//
// Files are opened so that nobody who can write to the log directory can make the
// writer follow a link or fill another file, and rotated by size.
package crilog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// MaxLine is the longest text of one entry in bytes; longer lines are split.
const MaxLine = 16 << 10

const stampFormat = "2006-01-02T15:04:05.000000000Z07:00"

// Entries appends the entries for b to dst and returns how much of b they cover: all
// but an unfinished last line shorter than MaxLine, which is covered too if flush.
// emit is called with each entry.
func Entries(b []byte, stream string, at time.Time, flush bool, emit func(entry []byte)) (covered int) {
	head := at.UTC().AppendFormat(make([]byte, 0, len(stampFormat)+len(stream)+4), stampFormat)
	head = append(append(append(head, ' '), stream...), ' ')
	var entry []byte
	write := func(tag byte, text []byte) {
		entry = append(append(entry[:0], head...), tag, ' ')
		entry = append(append(entry, text...), '\n')
		emit(entry)
	}
	for covered < len(b) {
		rest := b[covered:]
		nl := bytes.IndexByte(rest[:min(len(rest), MaxLine+1)], '\n')
		switch {
		case nl >= 0:
			write('F', rest[:nl])
			covered += nl + 1
		case len(rest) >= MaxLine:
			write('P', rest[:MaxLine])
			covered += MaxLine
		case flush:
			write('P', rest)
			covered += len(rest)
		default:
			return covered
		}
	}
	return covered
}

// File is one log. Not for concurrent use.
type File struct {
	path     string
	maxBytes int64
	maxFiles int
	f        *os.File
	size     int64
	buf      []byte
}

// Open opens or makes the log at path. It is rotated before it would exceed maxBytes,
// and there are at most maxFiles of it. A symbolic link, a file with several links and
// what is no regular file are refused.
func Open(path string, maxBytes int64, maxFiles int) (*File, error) {
	l := &File{path: path, maxBytes: maxBytes, maxFiles: maxFiles}
	return l, l.open()
}

func (l *File) open() error {
	// Non-blocking, or a fifo put in its place would hang us.
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o640)
	if err != nil {
		if errors.Is(err, unix.ELOOP) {
			err = errors.New("is a symbolic link")
		}
		return fmt.Errorf("open log %s: %w", l.path, err)
	}
	if err := l.check(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("open log %s: %w", l.path, err)
	}
	l.f = f
	return nil
}

func (l *File) check(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("is not a regular file")
	case st.Nlink != 1:
		return errors.New("has " + strconv.FormatUint(uint64(st.Nlink), 10) + " links")
	}
	l.size = st.Size
	return l.mend(f)
}

// mend cuts off an entry that a killed writer left unfinished.
func (l *File) mend(f *os.File) error {
	tail := make([]byte, min(l.size, MaxLine+256))
	if len(tail) == 0 {
		return nil
	}
	if _, err := f.ReadAt(tail, l.size-int64(len(tail))); err != nil {
		return err
	}
	cut := len(tail) - 1 - bytes.LastIndexByte(tail, '\n')
	if cut == 0 || cut == len(tail) && l.size > int64(len(tail)) {
		return nil // whole, or no log of ours
	}
	l.size -= int64(cut)
	return f.Truncate(l.size)
}

// Add puts one entry into the buffer, rotating when the file is full.
func (l *File) Add(entry []byte) error {
	if n := l.size + int64(len(l.buf)); n > 0 && n+int64(len(entry)) > l.maxBytes {
		if err := errors.Join(l.Flush(), l.rotate()); err != nil {
			return err
		}
	}
	l.buf = append(l.buf, entry...)
	return nil
}

// Flush writes the buffer to the file in one call. What can't be written is dropped, and
// the file is left ending in a whole entry.
func (l *File) Flush() error {
	if len(l.buf) == 0 {
		return nil
	}
	n, err := l.f.Write(l.buf)
	l.buf = l.buf[:0]
	if err != nil {
		if n > 0 {
			err = errors.Join(err, l.f.Truncate(l.size))
		}
		return fmt.Errorf("write log %s: %w", l.path, err)
	}
	l.size += int64(n)
	return nil
}

func (l *File) rotate() error {
	for i := l.maxFiles - 1; i > 1; i-- {
		err := os.Rename(l.path+"."+strconv.Itoa(i-1), l.path+"."+strconv.Itoa(i))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	var err error
	if l.maxFiles > 1 {
		err = os.Rename(l.path, l.path+".1")
	} else {
		err = os.Remove(l.path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("rotate log: %w", err)
	}
	return l.Reopen()
}

// Reopen closes the file and opens the path again, for those who rotate it themselves.
func (l *File) Reopen() error {
	old := l.f
	if err := l.open(); err != nil {
		return err
	}
	return old.Close()
}

// Close writes what is left and closes the file.
func (l *File) Close() error { return errors.Join(l.Flush(), l.f.Close()) }
