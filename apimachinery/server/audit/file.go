package audit

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gopkg.in/natefinch/lumberjack.v2"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// The formats of a [File].
const (
	FormatJSON   = "json"
	FormatLegacy = "legacy"
)

// File keeps events in a file, a line each. The file and its folder are made if they are missing, for their owner alone.
type File struct {
	// Path is the file; "-" is the standard output, which does not rotate.
	Path string
	// Format is json by default.
	Format string
	// MaxSize is how long the file may be in MiB before it is rotated, 100 by default. MaxAge is how many days old
	// files are kept, MaxBackups how many of them: 0 is all. Compress makes old files .gz.
	MaxSize, MaxAge, MaxBackups int
	Compress                    bool
	// Delivery is Blocking by default; in the mode Batch each event is a batch.
	Delivery Delivery
	Truncate Truncate
}

func (f *File) sink() (Sink, error) {
	encode := line
	switch f.Format {
	case "", FormatJSON:
	case FormatLegacy:
		encode = func(ev *auditv1.Event) ([]byte, error) { return legacy(ev), nil }
	default:
		return Sink{}, fmt.Errorf("log: the format %q is neither json nor legacy", f.Format)
	}
	out, err := f.open()
	if err != nil {
		return Sink{}, fmt.Errorf("log: %w", err)
	}
	s := Sink{Name: "log", Delivery: f.Delivery, Truncate: f.Truncate}
	s.Delivery.Mode = or(s.Delivery.Mode, Blocking)
	s.Write = func(_ context.Context, events []*auditv1.Event) error {
		var all []byte
		for _, ev := range events {
			raw, err := encode(ev)
			if err != nil {
				return err
			}
			all = append(all, raw...)
		}
		_, err := out.Write(all)
		return err
	}
	return s, nil
}

func (f *File) open() (io.Writer, error) {
	switch {
	case f.Path == "":
		return nil, fmt.Errorf("no path")
	case f.Path == "-":
		return os.Stdout, nil
	case f.MaxSize < 0 || f.MaxAge < 0 || f.MaxBackups < 0:
		return nil, fmt.Errorf("a bound is negative")
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(f.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) // say now what would go wrong later
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return &lumberjack.Logger{Filename: f.Path, MaxSize: f.MaxSize, MaxAge: f.MaxAge, MaxBackups: f.MaxBackups, Compress: f.Compress}, nil
}
