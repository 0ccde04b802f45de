package server

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// messages are the items of a list in protobuf. All of them are made before the first byte goes out, as a list in
// protobuf begins with its length.
func (c *call) messages(entries []*storage.Entry) ([]message, error) {
	out := make([]message, len(entries))
	err := inParallel(len(entries), func(i int) (err error) {
		out[i], err = c.message(entries[i])
		return err
	})
	return out, err
}

// atOnce is how many items are made in a row by one goroutine.
const atOnce = 64

// inParallel calls do for 0 to n-1 on as many processors as there are, and returns one of the errors.
func inParallel(n int, do func(i int) error) error {
	workers := min(runtime.GOMAXPROCS(0), (n+atOnce-1)/atOnce)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	work := func() {
		for failed.Load() == nil {
			from := int(next.Add(atOnce)) - atOnce
			if from >= n {
				return
			}
			for i := from; i < min(from+atOnce, n); i++ {
				if err := do(i); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
			}
		}
	}
	var wg sync.WaitGroup
	for range workers - 1 {
		wg.Go(func() { keepPanic(&failed, work) })
	}
	keepPanic(&failed, work)
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// openProtobuf begins a list in protobuf, whose items must have been made.
func (s *listStream) openProtobuf() error {
	meta := metav1.ListMeta{ResourceVersion: strconv.FormatInt(s.rev, 10), Continue: s.meta.Continue, RemainingItemCount: s.meta.Remaining}
	if s.rev == 0 {
		meta.ResourceVersion = ""
	}
	head, err := meta.Marshal()
	if err != nil {
		return err
	}
	size := 1 + apimachinery.UvarintLen(len(head)) + len(head)
	for i, m := range s.messages {
		n := m.size(s.entries[i].Rev)
		size += 1 + apimachinery.UvarintLen(n) + n
	}
	s.buf = make([]byte, 0, min(size+256, s.room()+64<<10))
	s.buf = apimachinery.AppendEnvelope(s.buf, s.c.listKind(), size)
	s.buf = apimachinery.AppendField(s.buf, tagList, head)
	return nil
}

// item appends the next item in protobuf.
func (s *listStream) item() {
	m, rev := s.messages[s.at], s.entries[s.at].Rev
	s.buf = append(s.buf, tagItem)
	s.buf = binary.AppendUvarint(s.buf, uint64(m.size(rev)))
	s.buf = m.appendTo(s.buf, rev)
	s.messages[s.at] = nil
}

// keepPanic turns a panic of do, which is another goroutine's, into the error of the request.
func keepPanic(failed *atomic.Pointer[error], do func()) {
	defer func() {
		if p := recover(); p != nil {
			err := fmt.Errorf("the request ended in a panic: %v", p)
			failed.CompareAndSwap(nil, &err)
		}
	}()
	do()
}
