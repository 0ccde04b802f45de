package server

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// messages are the items of a list in protobuf. All of them are made before the first byte goes out, as a list in
// protobuf begins with its length.
func (c *call) messages(entries []*storage.Entry) ([]message, error) {
	out := make([]message, len(entries))
	form := c.message
	if !c.wantsMetadata() && len(entries) > manyMessages {
		form = func(e *storage.Entry) (message, error) { return c.s.listed.message(c.v, e) }
	}
	err := inParallel(len(entries), func(i int) (err error) {
		out[i], err = form(entries[i])
		return err
	})
	return out, err
}

// manyMessages is the length of a list from which its messages are kept for the next list instead of in the memos of
// their entries: those are for what happens now, and a large list would push all of it out.
const manyMessages = 256

// listed are the messages of the large lists of the last minutes, within a limit: what goes beyond is made anew each time.
// Several clients that start at the same time all list the same.
type listed struct {
	limit  int64
	keep   time.Duration // after the last use
	mu     sync.RWMutex
	bytes  int64
	kept   map[listedKey]listedMessage
	forget *time.Timer
	used   atomic.Bool
}

type listedKey struct {
	v   *view
	key string
}

type listedMessage struct {
	rev int64
	message
}

func (l *listed) message(v *view, e *storage.Entry) (message, error) {
	at := listedKey{v, e.Key}
	l.mu.RLock()
	have, ok := l.kept[at]
	l.mu.RUnlock()
	if !l.used.Load() {
		l.used.Store(true)
	}
	if ok && have.rev == e.Rev {
		return have.message, nil
	}
	m, err := v.makeMessage(e)
	if err == nil {
		l.add(at, listedMessage{e.Rev, m})
	}
	return m, err
}

// listedFor is how long messages are kept that nobody uses: between once and twice this.
const listedFor = time.Minute

// listedOverhead is what a message takes beside its bytes.
const listedOverhead = 128

// add keeps a message in place of an older one, if there is room.
func (l *listed) add(at listedKey, m listedMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, ok := l.kept[at]
	more := int64(len(m.message) - len(old.message))
	if !ok {
		more += listedOverhead
	}
	if ok && old.rev >= m.rev || l.bytes+more > l.limit {
		return
	}
	if l.kept == nil {
		l.kept = map[listedKey]listedMessage{}
		l.forget = time.AfterFunc(l.keep, l.expire)
	}
	l.kept[at] = m
	l.bytes += more
}

// expire forgets everything if nobody has used it since it was last called.
func (l *listed) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept == nil {
		return
	}
	if l.used.Swap(false) {
		l.forget.Reset(l.keep)
		return
	}
	l.kept, l.bytes = nil, 0
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
