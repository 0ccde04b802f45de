package seal

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// secret is a key for tests.
func secret(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// writers are the providers that seal.
func writers(name string, b byte) []Provider {
	return []Provider{
		must(NewAESGCM(name, secret(b))), must(NewXAESGCM(name, secret(b))), must(NewSecretbox(name, secret(b))),
	}
}

func TestRoundTrip(t *testing.T) {
	for _, p := range writers("k", 1) {
		for _, n := range []int{0, 1, 15, 16, 17, 2900, 1 << 20} {
			plain := bytes.Repeat([]byte("x"), n)
			sealed, err := p.Seal(t.Context(), "/registry/secrets/a", plain)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(sealed), p.Prefix()))
			require.Equal(t, cap(sealed), len(sealed), "no waste")
			again, err := p.Seal(t.Context(), "/registry/secrets/a", plain)
			require.NoError(t, err)
			require.NotEqual(t, sealed, again, "no two are alike")
			got, stale, err := p.Open(t.Context(), "/registry/secrets/a", sealed)
			require.NoError(t, err)
			require.False(t, stale)
			require.Equal(t, plain, got)
		}
	}
}

// TestBound: what was sealed for one key opens nowhere else, nor with another secret under the same name.
func TestBound(t *testing.T) {
	others := writers("k", 2)
	for i, p := range writers("k", 1) {
		sealed, err := p.Seal(t.Context(), "/registry/secrets/a", []byte("value"))
		require.NoError(t, err)
		for _, key := range []string{"/registry/secrets/b", "/registry/secrets/", "/registry/secrets/a\x00", "/registry/secrets/a/", ""} {
			_, _, err = p.Open(t.Context(), key, sealed)
			require.ErrorIs(t, err, ErrNotAuthentic)
		}
		_, _, err = others[i].Open(t.Context(), "/registry/secrets/a", sealed)
		require.ErrorIs(t, err, ErrNotAuthentic)
	}
}

// TestTampered changes, cuts or lengthens a sealed value in any place: what comes out is an error, never a value.
func TestTampered(t *testing.T) {
	all := writers("k", 1)
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom(all).Draw(t, "provider")
		key := "/registry/" + rapid.String().Draw(t, "key")
		plain := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "plain")
		sealed, err := p.Seal(t.Context(), key, plain)
		require.NoError(t, err)
		head := len(p.Prefix())
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			bit := rapid.IntRange(8*head, 8*len(sealed)-1).Draw(t, "bit")
			sealed[bit/8] ^= 1 << (bit % 8)
		case 1:
			sealed = sealed[:rapid.IntRange(head, len(sealed)-1).Draw(t, "length")]
		case 2:
			sealed = append(sealed, rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "more")...)
		}
		_, _, err = p.Open(t.Context(), key, sealed)
		require.ErrorIs(t, err, ErrNotAuthentic)
	})
}

// TestEveryBit changes each bit of a stored value, its prefix included, as a rule reads it.
func TestEveryBit(t *testing.T) {
	for _, p := range writers("k", 1) {
		rule := &Rule{Providers: []Provider{p, must(NewAESGCM("j", secret(3)))}}
		sealed, err := p.Seal(t.Context(), "/a", []byte("value"))
		require.NoError(t, err)
		for bit := range 8 * len(sealed) {
			changed := bytes.Clone(sealed)
			changed[bit/8] ^= 1 << (bit % 8)
			_, _, err := rule.open(t.Context(), "/a", changed)
			require.Error(t, err, "bit %d", bit)
			require.NotContains(t, err.Error(), "value:")
		}
	}
}

// FuzzOpen: whatever lies in the store, reading it does not panic, and only what was sealed is read.
func FuzzOpen(f *testing.F) {
	all := append(writers("k", 1), must(NewKubernetesSecretbox("k", secret(1))))
	for _, p := range all {
		f.Add([]byte(p.Prefix()))
		f.Add([]byte(p.Prefix() + strings.Repeat("\x00", 40)))
	}
	f.Add([]byte("k8s:enc:"))
	f.Add([]byte("k8s:enc:::::::"))
	f.Add([]byte{})
	rule := &Rule{Providers: all}
	f.Fuzz(func(t *testing.T, stored []byte) {
		before := bytes.Clone(stored)
		_, _, err := rule.open(t.Context(), "/a", stored)
		require.Error(t, err)
		require.Less(t, len(err.Error()), 400)
		require.Equal(t, before, stored)
	})
}

// TestXAES has the test vectors of C2SP's specification.
func TestXAES(t *testing.T) {
	nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
	for _, c := range []struct {
		key       byte
		aad, want string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		p := must(NewXAESGCM("k", secret(c.key)))
		aead, err := p.derive(nonce)
		require.NoError(t, err)
		require.Equal(t, c.want, hex.EncodeToString(aead.Seal(nil, nonce[12:], []byte("XAES-256-GCM"), []byte(c.aad))))
	}
}

func TestIdentity(t *testing.T) {
	got, stale, err := Identity.Open(t.Context(), "/a", []byte("plain"))
	require.NoError(t, err)
	require.False(t, stale)
	require.Equal(t, "plain", string(got))
	_, _, err = Identity.Open(t.Context(), "/a", []byte("k8s:enc:kms:v2:x"))
	require.Error(t, err)
	_, err = Identity.Seal(t.Context(), "/a", []byte("k8s:enc:kms:v2:x"))
	require.Error(t, err, "it would not be read again")
}

func TestWornOut(t *testing.T) {
	p := must(NewAESGCM("k", secret(1)))
	used, limit := p.Used()
	require.Zero(t, used)
	require.EqualValues(t, 1<<32, limit)
	p.limit = 2
	var sealed []byte
	for range 2 {
		sealed = must(p.Seal(t.Context(), "/a", []byte("x")))
	}
	_, err := p.Seal(t.Context(), "/a", []byte("x"))
	require.ErrorIs(t, err, ErrWornOut)
	used, limit = p.Used()
	require.Equal(t, limit, used)
	_, _, err = p.Open(t.Context(), "/a", sealed)
	require.NoError(t, err)
}

func TestBadKeys(t *testing.T) {
	long := strings.Repeat("n", 129)
	for _, name := range []string{"", "a:b", "a b", "a\n", "ä", long} {
		_, err := NewAESGCM(name, secret(1))
		require.Error(t, err)
		_, err = NewXAESGCM(name, secret(1))
		require.Error(t, err)
		_, err = NewSecretbox(name, secret(1))
		require.Error(t, err)
		_, err = NewKubernetesSecretbox(name, secret(1))
		require.Error(t, err)
	}
	for _, n := range []int{0, 15, 31, 33, 64} {
		key := make([]byte, n)
		_, err := NewAESGCM("k", key)
		require.Error(t, err)
		_, err = NewXAESGCM("k", key)
		require.Error(t, err)
		_, err = NewSecretbox("k", key)
		require.Error(t, err)
		_, err = NewKubernetesSecretbox("k", key)
		require.Error(t, err)
	}
	for _, n := range []int{16, 24, 32} {
		_, err := NewAESGCM("k", make([]byte, n))
		require.NoError(t, err)
	}
}

// TestNothingPrintsAKey prints providers and what holds them in every way there is.
func TestNothingPrintsAKey(t *testing.T) {
	key := []byte("the secret key that none may see")
	for _, p := range []Provider{
		must(NewAESGCM("k", key)), must(NewXAESGCM("k", key)), must(NewSecretbox("k", key)),
		must(NewKubernetesSecretbox("k", key)),
	} {
		c := Config{Rules: []Rule{{Prefixes: []string{""}, Providers: []Provider{p}}}}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
			text := fmt.Sprintf(verb, p) + fmt.Sprintf(verb, c) + fmt.Sprintf(verb, &c)
			require.NotContains(t, text, string(key[:8]))
			require.NotContains(t, text, hex.EncodeToString(key[:8]))
			require.NotContains(t, text, strings.Trim(fmt.Sprint(key[:8]), "[]"))
			require.NotContains(t, text, strings.ReplaceAll(strings.Trim(fmt.Sprintf("%#v", key[:8]), "[]byte{}"), "}", ""))
		}
	}
}
