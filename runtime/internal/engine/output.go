//go:build linux

package engine

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/bedplate/bedplate/runtime/internal/crilog"
)

// output copies what a container writes to its log, and to those attached.
type output struct {
	log     *slog.Logger
	streams []*stream
	wg      sync.WaitGroup
	ended   chan struct{} // closed when all streams have

	mu      sync.Mutex
	file    *crilog.File // nil: dropped
	failing bool         // the last write failed
	subs    map[*subscriber]bool
	over    bool
}

// stream is stdout or stderr.
type stream struct {
	name  string
	src   source
	shown int // unconsumed bytes that those attached have had
}

// newOutput opens the log, if path isn't empty. It copies nothing before run.
func newOutput(log *slog.Logger, b Bundle) (*output, error) {
	o := &output{log: log, subs: map[*subscriber]bool{}, ended: make(chan struct{})}
	if b.LogPath == "" {
		return o, nil
	}
	f, err := crilog.Open(b.LogPath, b.LogBytes, b.LogFiles)
	if err != nil {
		return nil, err
	}
	o.file = f
	return o, nil
}

func (o *output) add(name string, src source) {
	o.streams = append(o.streams, &stream{name: name, src: src})
}

// run copies until every stream has ended, on goroutines of its own, and then closes everything.
func (o *output) run() {
	for _, s := range o.streams {
		o.wg.Go(func() { o.copy(s) })
	}
	go func() {
		o.wg.Wait()
		o.close()
		close(o.ended)
	}()
}

// close releases everything. Once run is called, run does it.
func (o *output) close() {
	for _, s := range o.streams {
		_ = s.src.Close()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		o.report(o.file.Close())
		o.file = nil
	}
	o.over = true
	for sub := range o.subs {
		sub.end(nil)
	}
	clear(o.subs)
}

// drain takes what there is and ends, waiting for at most patience. The
// container has ended.
func (o *output) drain(patience time.Duration) {
	for _, s := range o.streams {
		s.src.interrupt()
	}
	select {
	case <-o.ended:
	case <-time.After(patience):
		o.log.Warn("log of an ended container is not written yet, going on without")
	}
}

func (o *output) copy(s *stream) {
	for s.src.wait() {
		if err := o.step(s, false); err != nil {
			o.log.Error("copy output", "stream", s.name, "err", err)
			return
		}
	}
	// Ended or interrupted: what is in the pipe is all that is left. Whoever still
	// holds its other end can make no more than a few rounds of it.
	for range 4 {
		if err := o.step(s, true); err != nil {
			o.log.Error("copy output", "stream", s.name, "err", err)
			return
		}
	}
}

func (o *output) step(s *stream, last bool) error {
	b, err := s.src.peek()
	if err != nil || len(b) == 0 {
		return err
	}
	n := o.write(s, b, last && len(b) < chunk)
	if n == 0 {
		return nil
	}
	s.shown -= n
	return s.src.consume(n)
}

// write puts whole lines of b into the log and whatever is new to those attached.
func (o *output) write(s *stream, b []byte, flush bool) (covered int) {
	o.mu.Lock()
	subs := slices.Collect(maps.Keys(o.subs))
	o.mu.Unlock()
	for _, sub := range subs {
		sub.offer(s.name, b[s.shown:])
	}
	s.shown = len(b)
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs error
	emit := func(entry []byte) {
		if o.file != nil && errs == nil {
			errs = o.file.Add(entry)
		}
	}
	covered = crilog.Entries(b, s.name, time.Now(), flush, emit)
	if o.file != nil && covered > 0 {
		errs = errors.Join(errs, o.file.Flush())
	}
	o.report(errs)
	return covered
}

// report logs the first of a row of failures to write. A container is not stopped by
// a full disk: what can't be written is dropped.
func (o *output) report(err error) {
	if err != nil && !o.failing {
		o.log.Error("container output is dropped", "err", err)
	}
	o.failing = err != nil
}

// reopen opens the log's path again, after somebody else renamed it.
func (o *output) reopen() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file == nil {
		return nil
	}
	return o.file.Reopen()
}

// subscribe sends output from now on to files, by stream, which it closes at the end.
func (o *output) subscribe(files map[string]*os.File) *subscriber {
	sub := &subscriber{files: files, ch: make(chan piece, 8), quit: make(chan struct{}), done: make(chan struct{})}
	go sub.run()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		sub.end(nil)
	} else {
		o.subs[sub] = true
	}
	return sub
}

func (o *output) unsubscribe(sub *subscriber) {
	o.mu.Lock()
	delete(o.subs, sub)
	o.mu.Unlock()
	sub.end(nil)
	sub.abort()
	<-sub.done
}

// errStalled ends an attached client that has stopped reading. One that merely reads slowly
// slows the container, like a pipe.
var errStalled = errors.New("the attached client stopped reading")

// stall is how long a client may take no output at all.
const stall = time.Second

type piece struct {
	stream string
	bytes  []byte
}

// subscriber is an attached client.
type subscriber struct {
	files map[string]*os.File
	ch    chan piece
	once  sync.Once
	quit  chan struct{} // closed when no more will come
	err   error         // why it ended early; read after done
	done  chan struct{} // closed when everything is written, or nobody reads
}

func (s *subscriber) offer(stream string, b []byte) {
	if s.files[stream] == nil || len(b) == 0 {
		return
	}
	p := piece{stream, slices.Clone(b)}
	select {
	case s.ch <- p:
		return
	default:
	}
	t := time.NewTimer(stall)
	defer t.Stop()
	select {
	case s.ch <- p:
	case <-s.quit:
	case <-t.C:
		s.end(errStalled)
		s.abort()
	}
}

func (s *subscriber) end(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.quit)
	})
}

func (s *subscriber) run() {
	defer close(s.done)
	defer s.abort()
	for {
		select {
		case p := <-s.ch:
			if !s.write(p) {
				return
			}
		case <-s.quit:
			for len(s.ch) > 0 && s.write(<-s.ch) {
			}
			return
		}
	}
}

func (s *subscriber) write(p piece) bool {
	_, err := s.files[p.stream].Write(p.bytes)
	if err != nil {
		s.end(nil) // nobody reads: that is for the client to say
	}
	return err == nil
}

// abort closes the files, which ends a write that blocks.
func (s *subscriber) abort() {
	for _, f := range s.files {
		_ = f.Close()
	}
}
