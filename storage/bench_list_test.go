package storage_test

import (
	"crypto/sha256"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
)

// BenchmarkList sends 20,000 random objects out of a snapshot to a unix socket that another process drains; an
// operation is a list, taken and drained. The floor sends the same bytes from one slice. The drain sums the first
// list of each connection up, which must be the right one.
func BenchmarkList(b *testing.B) {
	const n = 20_000
	_, t := inMemory(b, n, objectSize)
	var all []byte
	for e := range load(b, t).All(storage.Filter{}, "") {
		all = append(all, e.Raw...)
	}
	ways := map[string]func(io.Writer, *storage.Snapshot) error{
		"vectors=64": vectors(64), "vectors=128": vectors(128), "gather=256KiB": gather(256 << 10), "gather=512KiB": gather(512 << 10),
	}
	for name, send := range ways {
		b.Run(name, func(b *testing.B) {
			conn := drain(b, len(all))
			list := func() {
				s, err := t.Snapshot(b.Context(), storage.Cached, false)
				require.NoError(b, err)
				require.NoError(b, send(conn, s))
			}
			answer := make([]byte, sha256.Size)
			list()
			_, err := io.ReadFull(conn, answer)
			require.NoError(b, err)
			require.Equal(b, sha256.Sum256(all), [sha256.Size]byte(answer))
			drained := func(send func()) func(int, int) cost {
				return func(_, ops int) cost {
					return measure(ops, func() {
						for range ops {
							send()
							_, err := io.ReadFull(conn, answer[:1])
							require.NoError(b, err)
						}
					})
				}
			}
			var mallocs uint64
			_, ours := compare(b, drained(func() {
				_, err := conn.Write(all)
				require.NoError(b, err)
			}), func(first, ops int) cost {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				defer func() {
					runtime.ReadMemStats(&after)
					mallocs += after.Mallocs - before.Mallocs
				}()
				return drained(list)(first, ops)
			})
			b.ReportMetric(float64(len(all))*ours.perSecond()/1e9, "GB/s")
			b.ReportMetric(float64(mallocs)/float64(b.N)/(n/1000), "allocs/1000-objects")
		})
	}
}

// vectors writes the objects' own bytes, k at a time.
func vectors(k int) func(io.Writer, *storage.Snapshot) error {
	own := make(net.Buffers, 0, k)
	return func(w io.Writer, s *storage.Snapshot) error {
		v := own
		for e := range s.All(storage.Filter{}, "") {
			v = append(v, e.Raw)
			if len(v) == k {
				if _, err := v.WriteTo(w); err != nil {
					return err
				}
				v = own
			}
		}
		_, err := v.WriteTo(w)
		return err
	}
}

// gather copies the objects' bytes together and writes about size of them at a time.
func gather(size int) func(io.Writer, *storage.Snapshot) error {
	buf := make([]byte, 0, size+64<<10)
	return func(w io.Writer, s *storage.Snapshot) error {
		buf = buf[:0]
		for e := range s.All(storage.Filter{}, "") {
			buf = append(buf, e.Raw...)
			if len(buf) >= size {
				if _, err := w.Write(buf); err != nil {
					return err
				}
				buf = buf[:0]
			}
		}
		_, err := w.Write(buf)
		return err
	}
}
