//go:build linux

package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/bedplate/bedplate/storage"
)

// request is what a client sends; the answer to it comes before it sends the next.
type request struct {
	Op        string  `json:"op"` // get, list, commit, watch, and what member.go adds
	Key       string  `json:"k,omitempty"`
	Rev       int64   `json:"r,omitempty"`
	Writes    []write `json:"w,omitempty"`
	Bookmarks bool    `json:"b,omitempty"`
	WithinMs  int64   `json:"ms,omitempty"`
}

type answer struct {
	Entry *entry   `json:"entry,omitempty"`
	List  *listing `json:"list,omitempty"`
	News  *news    `json:"news,omitempty"`
	Rev   int64    `json:"rev,omitempty"`
	Text  string   `json:"text,omitempty"`
	Error *failure `json:"error,omitempty"`
}

// failure carries those of storage's errors that a client acts on.
type failure struct {
	Kind   string                 `json:"kind"`
	Text   string                 `json:"text"`
	Clash  *storage.ConflictError `json:"clash,omitempty"`
	TooOld *storage.TooOldError   `json:"tooOld,omitempty"`
}

var kinds = map[string]error{
	"notFound": storage.ErrNotFound, "tooOld": storage.ErrTooOld, "future": storage.ErrFuture, "behind": storage.ErrBehind,
	"tooLarge": storage.ErrTooLarge, "noSpace": storage.ErrNoSpace, "closed": storage.ErrClosed, "corrupt": storage.ErrCorrupt,
}

func failed(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Kind: "other", Text: err.Error()}
	errors.As(err, &f.Clash)
	errors.As(err, &f.TooOld)
	for kind, target := range kinds {
		if errors.Is(err, target) {
			f.Kind = kind
		}
	}
	return f
}

func (f *failure) err() error {
	switch {
	case f == nil:
		return nil
	case f.Clash != nil:
		return f.Clash
	case f.TooOld != nil:
		return f.TooOld
	case kinds[f.Kind] != nil:
		return fmt.Errorf("%w: %s", kinds[f.Kind], f.Text)
	}
	return errors.New(f.Text)
}

// serveDoor answers the requests of one connection until it ends.
func serveDoor(ctx context.Context, c net.Conn, d door, other func(context.Context, request) answer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // it wakes the reader below
	defer stop()
	defer c.Close()
	in, out := json.NewDecoder(c), json.NewEncoder(c)
	for {
		var r request
		if in.Decode(&r) != nil {
			return
		}
		if r.Op == "watch" {
			go func() { // a watching client sends nothing more: this is its end
				_ = in.Decode(&request{})
				cancel()
			}()
			err := d.Watch(ctx, r.Key, r.Rev, r.Bookmarks, func(n news) bool { return out.Encode(answer{News: &n}) == nil })
			_ = out.Encode(answer{Error: failed(err)}) // who went away does not hear it
			return
		}
		within := time.Duration(r.WithinMs) * time.Millisecond
		if within == 0 {
			within = time.Minute
		}
		one, done := context.WithTimeout(ctx, within)
		a := handle(one, d, r, other)
		done()
		if out.Encode(a) != nil {
			return
		}
	}
}

func handle(ctx context.Context, d door, r request, other func(context.Context, request) answer) answer {
	switch r.Op {
	case "get":
		e, err := d.Get(ctx, r.Key, r.Rev)
		return answer{Entry: &e, Error: failed(err)}
	case "list":
		l, err := d.List(ctx, r.Key, r.Rev)
		return answer{List: &l, Error: failed(err)}
	case "commit":
		rev, err := d.Commit(ctx, r.Writes)
		return answer{Rev: rev, Error: failed(err)}
	}
	return other(ctx, r)
}

// errLink: the connection broke, so whether the request was carried out is open.
var errLink = errors.New("connection lost")

// errNobody: nobody answers at the socket; the request was not sent.
var errNobody = errors.New("nobody there")

// socketDoor leads to a member's process. It is for one client at a time; watches have connections of their own.
type socketDoor struct {
	path string
	c    net.Conn
	in   *json.Decoder
	out  *json.Encoder
}

var _ door = (*socketDoor)(nil)

func (d *socketDoor) dial() (net.Conn, error) {
	c, err := net.DialTimeout("unix", d.path, time.Second)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNobody, err)
	}
	return c, nil
}

func (d *socketDoor) ask(ctx context.Context, r request) (answer, error) {
	if d.c == nil {
		c, err := d.dial()
		if err != nil {
			return answer{}, err
		}
		d.c, d.in, d.out = c, json.NewDecoder(c), json.NewEncoder(c)
	}
	c := d.c
	var deadline time.Time
	if at, ok := ctx.Deadline(); ok {
		r.WithinMs = max(1, time.Until(at).Milliseconds())
		deadline = at.Add(100 * time.Millisecond) // the member's own answer is better than none
	}
	_ = c.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now().Add(100 * time.Millisecond)) })
	defer stop()
	var a answer
	err := d.out.Encode(r)
	if err == nil {
		err = d.in.Decode(&a)
	}
	if err != nil {
		d.Close()
		return answer{}, fmt.Errorf("%w: %w", errLink, err)
	}
	return a, a.Error.err()
}

func (d *socketDoor) Get(ctx context.Context, key string, min int64) (entry, error) {
	a, err := d.ask(ctx, request{Op: "get", Key: key, Rev: min})
	if err != nil {
		return entry{}, err
	}
	return *a.Entry, nil
}

func (d *socketDoor) List(ctx context.Context, table string, at int64) (listing, error) {
	a, err := d.ask(ctx, request{Op: "list", Key: table, Rev: at})
	if err != nil {
		return listing{}, err
	}
	return *a.List, nil
}

func (d *socketDoor) Commit(ctx context.Context, writes []write) (int64, error) {
	a, err := d.ask(ctx, request{Op: "commit", Writes: writes})
	return a.Rev, err
}

func (d *socketDoor) Watch(ctx context.Context, table string, since int64, bookmarks bool, yield func(news) bool) error {
	c, err := d.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	in := json.NewDecoder(c)
	if err := json.NewEncoder(c).Encode(request{Op: "watch", Key: table, Rev: since, Bookmarks: bookmarks}); err != nil {
		return fmt.Errorf("%w: %w", errLink, err)
	}
	for {
		var a answer
		if err := in.Decode(&a); err != nil {
			return fmt.Errorf("%w: %w", errLink, err)
		}
		if a.Error != nil {
			return a.Error.err()
		}
		if a.News == nil || !yield(*a.News) {
			return nil
		}
	}
}

func (d *socketDoor) Close() {
	if d.c != nil {
		_ = d.c.Close()
		d.c = nil
	}
}
