package server

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
)

// masters is the group whose requests are never held back.
const masters = "system:masters"

// flow bounds how many requests are under way.
type flow struct {
	reads, writes         atomic.Int64
	mostReads, mostWrites int64
}

// enter takes a place; release gives it back and may be called more than once. Requests that the pipeline makes
// itself are nested: their place is that of the request they serve.
func (f *flow) enter(r *apimachinery.Request, nested bool) (release func(), err error) {
	n, most := &f.writes, f.mostWrites
	switch r.Verb {
	case apimachinery.VerbGet, apimachinery.VerbList, apimachinery.VerbWatch:
		n, most = &f.reads, f.mostReads
	}
	if n.Add(1) > most && !nested && !slices.Contains(r.User.Groups, masters) {
		n.Add(-1)
		return nil, apierrors.NewTooManyRequests("too many requests, please try again later", 1)
	}
	return sync.OnceFunc(func() { n.Add(-1) }), nil
}

// releasing gives a place back when the stream is closed.
type releasing struct {
	io.ReadCloser
	release func()
}

func (r *releasing) Close() error {
	defer r.release()
	return r.ReadCloser.Close()
}

// WriteTo keeps the stream's own way of writing itself.
func (r *releasing) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, r.ReadCloser)
}
