package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
	"github.com/bedplate/bedplate/storage"
)

// page is the part of a list that one request gets.
type page struct {
	*selected
	snap  *storage.Snapshot
	from  string
	limit int64
	left  int64 // how many are selected from there on; 0: not known
}

// listMeta is the metadata of a list beside its resourceVersion.
type listMeta struct {
	Continue  string
	Remaining *int64
}

// appendTo appends the fields behind resourceVersion.
func (m listMeta) appendTo(dst []byte) []byte {
	if m.Continue != "" {
		dst = append(dst, `,"continue":"`...)
		dst = append(append(dst, m.Continue...), '"')
	}
	if m.Remaining != nil {
		dst = append(dst, `,"remainingItemCount":`...)
		dst = strconv.AppendInt(dst, *m.Remaining, 10)
	}
	return dst
}

func (c *call) list(ctx context.Context) (*apimachinery.Response, error) {
	if c.form.As.Kind == wire.AsMetadata {
		return nil, wire.NotAcceptable(fmt.Sprintf("you requested PartialObjectMetadata, but the requested object is a list (%s)", c.listKind().Kind))
	}
	o := listOptions(c.r)
	p, err := c.page(ctx, &o)
	if err != nil {
		return nil, err
	}
	entries, meta, err := c.cut(p)
	if err != nil {
		return nil, err
	}
	if err := c.convert(ctx, entries); err != nil {
		return nil, err
	}
	rev := p.snap.Rev()
	if c.form.As.Kind == wire.AsTable {
		body, err := c.table(entries, rev, meta)
		return c.body(200, body, err)
	}
	s, err := c.stream(entries, meta, rev)
	if err != nil {
		return nil, err
	}
	if err := s.fill(s.room()); err != nil {
		return nil, err
	}
	if !s.ended && c.form.Media == apimachinery.YAML {
		if err := s.fill(1 << 62); err != nil {
			return nil, err
		}
	}
	if s.ended {
		return c.body(200, s.buf, nil)
	}
	return &apimachinery.Response{Code: 200, ContentType: c.form.Media, Stream: s}, nil
}

// page finds the snapshot and the place in it where a list goes on.
func (c *call) page(ctx context.Context, o *metav1.ListOptions) (*page, error) {
	if err := invalidOptions("ListOptions", validateList(o)); err != nil {
		return nil, err
	}
	sel, err := c.selection(o)
	if err != nil {
		return nil, err
	}
	p := &page{selected: sel, limit: o.Limit}
	rev, err := parseVersion(o.ResourceVersion)
	if err != nil {
		return nil, err
	}
	if o.Continue != "" {
		return p, c.goOn(ctx, p, o)
	}
	exact := o.ResourceVersionMatch == metav1.ResourceVersionMatchExact ||
		o.ResourceVersionMatch == "" && o.Limit > 0 && rev > 0
	p.snap, err = c.k.table.Snapshot(ctx, atLeast(o.ResourceVersion, rev), exact)
	return p, err
}

func validateList(o *metav1.ListOptions) field.ErrorList {
	var errs field.ErrorList
	match, path := o.ResourceVersionMatch, field.NewPath("resourceVersionMatch")
	if match != "" {
		if o.ResourceVersion == "" {
			errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
		}
		if o.Continue != "" {
			errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden when continue is provided"))
		}
		if match != metav1.ResourceVersionMatchExact && match != metav1.ResourceVersionMatchNotOlderThan {
			errs = append(errs, field.NotSupported(path, match, []string{string(metav1.ResourceVersionMatchExact), string(metav1.ResourceVersionMatchNotOlderThan), ""}))
		}
		if match == metav1.ResourceVersionMatchExact && o.ResourceVersion == "0" {
			errs = append(errs, field.Forbidden(path, `resourceVersionMatch "exact" is forbidden for resourceVersion "0"`))
		}
	}
	if o.SendInitialEvents != nil {
		errs = append(errs, field.Forbidden(field.NewPath("sendInitialEvents"), "sendInitialEvents is forbidden for list"))
	}
	return errs
}

// token is what a continue parameter says: go on at Start, relative to where the list began, as of Rev; a Rev
// of -1 goes on in the present. Left is how many are selected from Start on, so that no page counts them anew; 0: not known.
type token struct {
	Version string `json:"v"`
	Rev     int64  `json:"rv"`
	Start   string `json:"start"`
	Left    int64  `json:"left,omitempty"`
}

const tokenVersion = "meta.k8s.io/v1"

func (t token) String() string {
	t.Version = tokenVersion
	raw, err := json.Marshal(t)
	if err != nil {
		return "" // strings and integers alone: it cannot happen
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parseToken(text string) (token, error) {
	var t token
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &t)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("continue key is not valid: %w", err)
	case t.Version != tokenVersion:
		err = fmt.Errorf("continue key is not valid: server does not recognize this encoded version %q", t.Version)
	case t.Rev == 0:
		err = fmt.Errorf("continue key is not valid: incorrect encoded start resourceVersion (version %s)", tokenVersion)
	case t.Start == "":
		err = fmt.Errorf("continue key is not valid: encoded start key empty (version %s)", tokenVersion)
	case path.Clean("/"+t.Start) != "/"+t.Start:
		err = errors.New("continue key is not valid: it leaves the resource")
	case t.Left < 0:
		err = errors.New("continue key is not valid: it counts fewer than no objects")
	}
	if err != nil {
		return t, apierrors.NewBadRequest("invalid continue token: " + err.Error())
	}
	return t, nil
}

// goOn takes up a list where its token says, at the same revision.
func (c *call) goOn(ctx context.Context, p *page, o *metav1.ListOptions) error {
	if o.ResourceVersion != "" && o.ResourceVersion != "0" {
		return apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	t, err := parseToken(o.Continue)
	if err != nil {
		return err
	}
	p.from, p.left = t.Start, t.Left
	if t.Rev < 0 {
		p.left = 0
		p.snap, err = c.k.table.Snapshot(ctx, 0, false)
		return err
	}
	if p.snap, err = c.k.table.Snapshot(ctx, t.Rev, true); err == nil {
		return nil
	}
	err = storageError(c.v.gr, "", err)
	if apierrors.IsResourceExpired(err) {
		return expiredToken(t)
	}
	return err
}

// expiredToken is the error of a list whose revision is gone, with a token that goes on in the present.
func expiredToken(t token) error {
	t.Rev = -1
	err := apierrors.NewResourceExpired("the continue token is too old for a consistent list: begin anew without it, or go on with the token in this answer's metadata, which lists the rest as it is now and may miss or repeat what changed in between")
	err.ErrStatus.ListMeta.Continue = t.String()
	return err
}

// cut takes the page's entries.
func (c *call) cut(p *page) ([]*storage.Entry, listMeta, error) {
	var entries []*storage.Entry
	if !p.narrow && p.filter.Prefix == "" {
		room := int64(p.snap.Len())
		if p.limit > 0 {
			room = min(room, p.limit)
		}
		entries = make([]*storage.Entry, 0, room)
	}
	more := false
	for e := range p.entries(p.snap, p.from) {
		if p.limit > 0 && int64(len(entries)) == p.limit {
			more = true
			break
		}
		entries = append(entries, e)
	}
	if !more {
		return entries, listMeta{}, c.unreadable(p.selected, p.snap, p.from, "")
	}
	last := entries[len(entries)-1].Key
	next := token{Rev: p.snap.Rev(), Start: last + "\x00"}
	var m listMeta
	if !p.narrow {
		next.Left = p.left - p.limit
		if next.Left <= 0 {
			next.Left = p.count(p.snap, next.Start)
		}
		m.Remaining = &next.Left
	}
	m.Continue = next.String()
	return entries, m, c.unreadable(p.selected, p.snap, p.from, last)
}

// listStream is a list as bytes, made a buffer at a time.
type listStream struct {
	c        *call
	entries  []*storage.Entry
	messages []message // of the entries; nil: JSON
	meta     listMeta
	rev      int64
	at       int
	buf      []byte
	off      int
	ended    bool
}

// stream begins a list in the form asked for.
func (c *call) stream(entries []*storage.Entry, meta listMeta, rev int64) (*listStream, error) {
	s := &listStream{c: c, entries: entries, meta: meta, rev: rev}
	if !c.inProtobuf() {
		s.open()
		return s, nil
	}
	var err error
	if s.messages, err = c.messages(entries); err != nil {
		return nil, err
	}
	return s, s.openProtobuf()
}

func (s *listStream) open() {
	gvk := s.c.listKind()
	s.buf = make([]byte, 0, s.size())
	s.buf = append(s.buf, `{"kind":"`...)
	s.buf = append(s.buf, gvk.Kind...)
	s.buf = append(s.buf, `","apiVersion":"`...)
	s.buf = append(s.buf, gvk.GroupVersion().String()...)
	s.buf = append(s.buf, `","metadata":{"resourceVersion":"`...)
	s.buf = strconv.AppendInt(s.buf, s.rev, 10)
	s.buf = append(s.buf, '"')
	s.buf = s.meta.appendTo(s.buf)
	s.buf = append(s.buf, `},"items":[`...)
}

// room is how much of a list is written at once: twice what a watch writes, as every write to HTTP/2 has its price.
func (s *listStream) room() int { return 2 * s.c.s.c.Limits.Buffer }

// size is how much to make the buffer for: what is left, or a little more than a buffer.
func (s *listStream) size() int {
	n := 512
	for _, e := range s.entries[s.at:] {
		if n += len(e.Raw) + 64; n > s.room() {
			return n + 512
		}
	}
	return n
}

// fill appends items until the buffer has reached size or the list has ended.
func (s *listStream) fill(size int) error {
	for len(s.buf) < size && s.at < len(s.entries) {
		if s.messages != nil {
			s.item()
			s.at++
			continue
		}
		e := s.entries[s.at]
		f, err := s.c.shape(e)
		if err != nil {
			return err
		}
		if s.at > 0 {
			s.buf = append(s.buf, ',')
		}
		s.buf = f.appendTo(s.buf, e.Rev)
		s.at++
	}
	if s.at == len(s.entries) && !s.ended {
		s.buf = append(s.buf, s.tail()...)
		s.ended = true
	}
	return nil
}

func (s *listStream) tail() string {
	if s.messages != nil {
		return apimachinery.EnvelopeTail
	}
	return "]}\n"
}

func (s *listStream) next() error {
	if s.off < len(s.buf) {
		return nil
	}
	if s.ended {
		return io.EOF
	}
	s.buf, s.off = s.buf[:0], 0
	return s.fill(s.room())
}

// Read implements io.Reader.
func (s *listStream) Read(p []byte) (int, error) {
	if err := s.next(); err != nil {
		return 0, err
	}
	n := copy(p, s.buf[s.off:])
	s.off += n
	return n, nil
}

// WriteTo implements io.WriterTo: large writes, without another copy. While one buffer is on its way, the next is
// filled.
func (s *listStream) WriteTo(w io.Writer) (int64, error) {
	total := int64(0)
	var spare []byte
	for {
		if err := s.next(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		out := s.buf[s.off:]
		var filled chan error
		if !s.ended {
			filled = make(chan error, 1)
			s.buf, spare, s.off = spare[:0], s.buf, 0
			go func() { filled <- s.refill() }()
		} else {
			s.off = len(s.buf)
		}
		n, err := w.Write(out)
		total += int64(n)
		if filled != nil {
			err = errors.Join(err, <-filled)
		}
		if err != nil {
			return total, err
		}
	}
}

// refill fills the buffer beside the goroutine that writes the one before.
func (s *listStream) refill() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the list ended in a panic: %v", p)
		}
	}()
	if cap(s.buf) == 0 {
		s.buf = make([]byte, 0, s.size())
	}
	return s.fill(s.room())
}

// Close implements io.Closer.
func (s *listStream) Close() error {
	s.entries, s.messages, s.at, s.ended = nil, nil, 0, true
	return nil
}
