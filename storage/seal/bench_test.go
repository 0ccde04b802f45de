package seal_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/seal"
)

const valueSize = 2_900

// BenchmarkSeal seals and opens a value of 2.9 KB, beside what AES-256-GCM alone takes with a random nonce and no
// additional data: into memory of its own, as a store needs it, and into the same memory again and again.
func BenchmarkSeal(b *testing.B) {
	plain := bytes.Repeat([]byte("x"), valueSize)
	block, err := aes.NewCipher(key(1))
	require.NoError(b, err)
	aead, err := cipher.NewGCM(block)
	require.NoError(b, err)
	b.Run("floor/seal", func(b *testing.B) {
		measure(b, valueSize, func(int) error {
			buf := make([]byte, 12, 12+valueSize+16)
			rand.Read(buf)
			aead.Seal(buf, buf, plain, nil)
			return nil
		})
	})
	b.Run("floor/sealSameMemory", func(b *testing.B) {
		buf := make([]byte, 12, 12+valueSize+16)
		measure(b, valueSize, func(int) error {
			rand.Read(buf)
			aead.Seal(buf, buf, plain, nil)
			return nil
		})
	})
	b.Run("floor/open", func(b *testing.B) {
		sealed := aead.Seal(make([]byte, 12), make([]byte, 12), plain, nil)
		measure(b, valueSize, func(int) error {
			_, err := aead.Open(make([]byte, 0, valueSize), sealed[:12], sealed[12:], nil)
			return err
		})
	})
	for _, p := range []seal.Provider{gcm(b, "k", 1), xaes(b, "k", 1), box(b, "k", 1)} {
		sealed, err := p.Seal(b.Context(), a, plain)
		require.NoError(b, err)
		b.Run(form(p)+"/seal", func(b *testing.B) {
			measure(b, valueSize, func(int) error {
				_, err := p.Seal(b.Context(), a, plain)
				return err
			})
		})
		b.Run(form(p)+"/open", func(b *testing.B) {
			measure(b, valueSize, func(int) error {
				_, _, err := p.Open(b.Context(), a, sealed)
				return err
			})
		})
	}
}

// BenchmarkStore commits one value, and reads 1,000, of 2.9 KB each, in memory: without and with each seal.
func BenchmarkStore(b *testing.B) {
	plain := bytes.Repeat([]byte("x"), valueSize)
	const count = 1_000
	keys := make([]string, count)
	for i := range keys {
		keys[i] = fmt.Sprintf("%sns/%04d", secrets, i)
	}
	for _, p := range []seal.Provider{nil, seal.Identity, gcm(b, "k", 1), xaes(b, "k", 1), box(b, "k", 1)} {
		var s storage.Backend = newMemory(b)
		name := "none"
		if p != nil {
			name = form(p)
			s = sealed(b, s, under(p)).Backend()
		}
		b.Run(name+"/commit", func(b *testing.B) {
			measure(b, valueSize, func(i int) error {
				_, err := s.Commit(b.Context(), storage.Txn{Then: []storage.Op{{Key: keys[i%count], Value: plain}}})
				return err
			})
		})
		for _, key := range keys {
			put(b, s, key, string(plain))
		}
		b.Run(name+"/range1000", func(b *testing.B) {
			measure(b, count*valueSize, func(int) error {
				page, err := s.Range(b.Context(), storage.Range{Prefix: secrets})
				if err == nil && len(page.KVs) != count {
					return errors.New("not all were read")
				}
				return err
			})
		})
	}
}

// form is a provider's name of its form.
func form(p seal.Provider) string {
	if p == seal.Identity {
		return "identity"
	}
	return strings.Split(p.Prefix(), ":")[2]
}

// measure runs do and reports, beside the time, what it took of the CPU: on a busy machine that is the figure.
func measure(b *testing.B, size int64, do func(i int) error) {
	b.ReportAllocs()
	b.SetBytes(size)
	begin, n := cpu(), 0
	for b.Loop() {
		if err := do(n); err != nil {
			b.Fatal(err)
		}
		n++
	}
	if used := cpu() - begin; used > 0 {
		b.ReportMetric(float64(used.Nanoseconds())/float64(n), "cpu-ns/op")
		b.ReportMetric(float64(size)*float64(n)/used.Seconds()/1e6, "MB/cpu-s")
	}
}
