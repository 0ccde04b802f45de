// Package pages looks at the pages of a bbolt database before bbolt does.
package pages

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	bolt "go.etcd.io/bbolt"
)

// The format of a database's pages. Numbers are in the machine's own byte order.
const (
	pageHeader    = 16 // number, flags, count of elements, count of further pages that belong to it
	elementHeader = 16
	bucketHeader  = 16 // of the value of a bucket: root page, sequence
	branchPage    = 0x01
	leafPage      = 0x02
	bucketElement = 0x01
	maxDepth      = 64
)

// Check sees that each page that is reachable in a transaction on the database of a path is what it should be. The
// error says which is not. It reads every page once.
//
// exact wants the first key of a page to be the one that the page above has for it. Bbolt leaves it so, and relies on it
// when it writes, but not when it reads.
func Check(ctx context.Context, path string, tx *bolt.Tx, exact bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	if tx.Size() > stat.Size() {
		return fmt.Errorf("%d bytes of %d", stat.Size(), tx.Size())
	}
	p := newPages(ctx, f, tx.DB().Info().PageSize, tx.Size())
	p.exact = exact
	return p.walk(uint64(tx.Cursor().Bucket().RootPage()), bounds{}, 0)
}

// pages walks all pages that are reachable from a root and sees that each is what it should be. The database
// library checks more, but by reading pages as they are mapped into memory, in goroutines of its own: pages that
// make no sense end the process there.
type pages struct {
	ctx  context.Context
	f    io.ReaderAt
	size int64  // of a page
	high uint64 // all numbers are below
	seen []uint64

	exact bool
}

func newPages(ctx context.Context, f io.ReaderAt, size int, total int64) *pages {
	high := uint64(total) / uint64(size)
	return &pages{ctx: ctx, f: f, size: int64(size), high: high, seen: make([]uint64, high/64+1)}
}

func (p *pages) damaged(id uint64, format string, args ...any) error {
	return fmt.Errorf("page %d: %s", id, fmt.Sprintf(format, args...))
}

// bounds are what all keys below an element of a branch page must be: at or after one, and before the other. Nil:
// no bound.
type bounds struct{ from, before []byte }

// walk looks at a page and all below it.
func (p *pages) walk(id uint64, b bounds, depth int) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	page, err := p.read(id)
	if err != nil {
		return err
	}
	return p.content(id, page, b, depth)
}

// read returns a page with all that belongs to it, which must not have been read before.
func (p *pages) read(id uint64) ([]byte, error) {
	if id < 2 || id >= p.high {
		return nil, p.damaged(id, "there is none")
	}
	page := make([]byte, p.size)
	if _, err := p.f.ReadAt(page, int64(id)*p.size); err != nil {
		return nil, err
	}
	if number := binary.NativeEndian.Uint64(page); number != id {
		return nil, p.damaged(id, "it says that it is %d", number)
	}
	further := uint64(binary.NativeEndian.Uint32(page[12:]))
	if id+further >= p.high {
		return nil, p.damaged(id, "it ends beyond the file")
	}
	for i := id; i <= id+further; i++ {
		if p.seen[i/64]&(1<<(i%64)) != 0 {
			return nil, p.damaged(i, "it is used twice")
		}
		p.seen[i/64] |= 1 << (i % 64)
	}
	if further == 0 {
		return page, nil
	}
	page = make([]byte, int64(further+1)*p.size)
	_, err := p.f.ReadAt(page, int64(id)*p.size)
	return page, err
}

// content looks at the elements of a page, or of what is like a page inside of a value.
func (p *pages) content(id uint64, page []byte, b bounds, depth int) error {
	flags, count := binary.NativeEndian.Uint16(page[8:]), int(binary.NativeEndian.Uint16(page[10:]))
	switch {
	case depth > maxDepth:
		return p.damaged(id, "it is too deep")
	case flags != branchPage && flags != leafPage:
		return p.damaged(id, "it is of kind %#x", flags)
	case pageHeader+count*elementHeader > len(page) || flags == branchPage && count == 0:
		return p.damaged(id, "it can't have %d elements", count)
	}
	all := make([]element, count)
	for i := range all {
		if !all[i].parse(page[pageHeader+i*elementHeader:], flags) {
			return p.damaged(id, "element %d ends beyond it", i)
		}
	}
	if !ordered(all, b) || p.exact && b.from != nil && (count == 0 || !bytes.Equal(all[0].key, b.from)) {
		return p.damaged(id, "keys are out of order")
	}
	for i, e := range all {
		var err error
		switch {
		case flags == branchPage:
			below := bounds{e.key, b.before}
			if i+1 < count {
				below.before = all[i+1].key
			}
			err = p.walk(e.child, below, depth+1)
		case e.bucket:
			err = p.bucket(id, e.value, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func ordered(all []element, b bounds) bool {
	for i, e := range all {
		if i == 0 && b.from != nil && bytes.Compare(e.key, b.from) < 0 ||
			i > 0 && bytes.Compare(e.key, all[i-1].key) <= 0 ||
			b.before != nil && bytes.Compare(e.key, b.before) >= 0 {
			return false
		}
	}
	return true
}

// element is one of a page.
type element struct {
	key, value []byte
	bucket     bool   // of a leaf page: the value is a bucket
	child      uint64 // of a branch page
}

// parse reads an element from the rest of a page; false if it ends beyond.
func (e *element) parse(rest []byte, flags uint16) (ok bool) {
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(rest[4*i:]) }
	if flags == branchPage {
		e.child = binary.NativeEndian.Uint64(rest[8:])
		e.key, _, ok = cut(rest, word(0), word(1), 0)
		return ok
	}
	e.bucket = word(0)&bucketElement != 0
	e.key, e.value, ok = cut(rest, word(1), word(2), word(3))
	return ok
}

// cut takes key and value out of what begins with their element.
func cut(e []byte, pos, key, value uint32) (k, v []byte, ok bool) {
	from, mid := uint64(pos), uint64(pos)+uint64(key)
	end := mid + uint64(value)
	if end > uint64(len(e)) {
		return nil, nil, false
	}
	return e[from:mid], e[mid:end], true
}

// bucket goes on in a bucket's own pages, or in the one that is inside of its value if it is small.
func (p *pages) bucket(id uint64, value []byte, depth int) error {
	if len(value) < bucketHeader {
		return p.damaged(id, "a bucket makes no sense")
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return p.walk(root, bounds{}, depth)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader || binary.NativeEndian.Uint16(inline[8:]) != leafPage {
		return p.damaged(id, "a bucket makes no sense")
	}
	return p.content(id, inline, bounds{}, depth)
}
