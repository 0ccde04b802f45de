package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// lastEntry is the index of the last entry that can be read from a WAL.
func lastEntry(dir string) (uint64, error) {
	snaps, err := wal.ValidSnapshotEntries(zap.NewNop(), dir)
	if err != nil {
		return 0, err
	}
	if len(snaps) == 0 {
		return 0, errors.New("it has no beginning")
	}
	snap := snaps[len(snaps)-1]
	w, err := wal.OpenForRead(zap.NewNop(), dir, snap)
	if err != nil {
		return 0, err
	}
	_, _, entries, err := w.ReadAll()
	_ = w.Close() // one that is only read always has an error to tell
	if err != nil {
		return 0, err
	}
	if len(entries) == 0 {
		return snap.GetIndex(), nil
	}
	return entries[len(entries)-1].GetIndex(), nil
}

// checkEnd looks at where a WAL ends. A record that a power failure has cut short is no record, and was never
// acknowledged; one that is whole but for a bit of its length was, and etcd would take it, and all that follows, for the
// former.
func checkEnd(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(files) == 0 {
		return err
	}
	slices.Sort(files)
	path := files[len(files)-1]
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	w := &walFile{f: f, size: stat.Size()}
	for at := int64(0); ; {
		frame, ok := w.frame(at)
		if !ok {
			return w.err
		}
		if end, ok := w.record(at, frame); ok {
			at = end
			continue
		}
		if frame == 0 && (at+8)%sector == 0 {
			return w.err // its sector may not have reached the disk, and the next one may have
		}
		for bit := range 64 {
			if _, ok := w.record(at, frame^1<<bit); ok {
				return fmt.Errorf("%s: the length of the record at offset %d is damaged", path, at)
			}
		}
		return w.err
	}
}

// sector is what a disk writes whole.
const sector = 512

// walFile is one file of a WAL: records, each behind a frame of 8 bytes that has its length and padding, and zeros.
type walFile struct {
	f    *os.File
	size int64
	buf  []byte
	sum  uint32 // of the records so far
	err  error  // of reading the file
}

// frame reads the frame at an offset; false at the end of the file.
func (w *walFile) frame(at int64) (uint64, bool) {
	b, ok := w.read(at, 8)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b), true
}

// read returns bytes of the file, until the next read.
func (w *walFile) read(at, n int64) ([]byte, bool) {
	if at+n > w.size || w.err != nil {
		return nil, false
	}
	w.buf = slices.Grow(w.buf[:0], int(n))[:n]
	if _, err := w.f.ReadAt(w.buf, at); err != nil {
		w.err = err
		return nil, false
	}
	return w.buf, true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const crcRecord = 4 // the type of the first record of a file: the checksum so far

// record tells whether there is a whole record behind a frame, and takes it into the checksum; end is where the next
// frame is.
func (w *walFile) record(at int64, frame uint64) (end int64, ok bool) {
	size, pad := int64(frame&(1<<56-1)), int64(0)
	if frame>>63 != 0 {
		pad = int64(frame >> 56 & 7)
	}
	end = at + 8 + size + pad
	if size == 0 || end > w.size || pad != (8-size%8)%8 {
		return 0, false // with another padding, what follows would be looked for in a wrong place
	}
	if first, ok := w.read(at+8, 1); !ok || first[0] == 0 {
		return 0, false // zeros, however long: no record begins with one
	}
	text, ok := w.read(at+8, size)
	if !ok {
		return 0, false
	}
	r := new(walpb.Record)
	if proto.Unmarshal(text, r) != nil {
		return 0, false
	}
	next := r.GetCrc()
	if r.GetType() == crcRecord {
		ok = w.sum == 0 || w.sum == next
	} else {
		ok = crc32.Update(w.sum, castagnoli, r.GetData()) == next
	}
	if ok {
		w.sum = next
	}
	return end, ok
}
