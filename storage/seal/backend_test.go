package seal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/seal"
)

const (
	secrets = "/registry/secrets/"
	a, b, c = secrets + "ns/a", secrets + "ns/b", secrets + "ns/c"
)

// TestSealsByRules: the first rule that has a prefix of a key decides, and what has none is plain.
func TestSealsByRules(t *testing.T) {
	below := newMemory(t)
	s := sealed(t, below,
		seal.Rule{Prefixes: []string{"/registry/secrets/", "/registry/configmaps/"}, Providers: []seal.Provider{xaes(t, "x", 1)}},
		seal.Rule{Prefixes: []string{"/registry/"}, Providers: []seal.Provider{gcm(t, "g", 2), seal.Identity}},
	).Backend()
	put(t, below, "/registry/pods/old", "plain")
	for k, prefix := range map[string]string{
		"/registry/secrets/x/y":    "k8s:enc:bedplate-xaes256gcm:v1:x:",
		"/registry/configmaps/x/y": "k8s:enc:bedplate-xaes256gcm:v1:x:",
		"/registry/secretsmore/x":  "k8s:enc:aesgcm:v1:g:",
		"/registry/pods/x/y":       "k8s:enc:aesgcm:v1:g:",
		"/other":                   "value of /other",
	} {
		put(t, s, k, "value of "+k)
		stored := get(t, below, k).Value
		require.True(t, bytes.HasPrefix(stored, []byte(prefix)), "%s: %q", k, stored)
		require.Equal(t, prefix == "value of "+k, bytes.Contains(stored, []byte("value of")))
		require.Equal(t, "value of "+k, string(get(t, s, k).Value))
	}
	require.Equal(t, "plain", string(get(t, s, "/registry/pods/old").Value))
	put(t, below, secrets+"old", "plain")
	require.ErrorContains(t, get(t, s, secrets+"old").Corrupt, "plain", "no Identity, nothing plain")
}

// TestCallerKeepsWhatItGave: the transaction and its values are as they were.
func TestCallerKeepsWhatItGave(t *testing.T) {
	s := sealed(t, newMemory(t), under(gcm(t, "k", 1))).Backend()
	ops := []storage.Op{{Key: a, Value: []byte("one")}, {Key: b}, {Key: c, Value: []byte{}}}
	_, err := s.Commit(t.Context(), storage.Txn{Then: ops})
	require.NoError(t, err)
	require.Equal(t, []storage.Op{{Key: a, Value: []byte("one")}, {Key: b}, {Key: c, Value: []byte{}}}, ops)
	require.Equal(t, []byte{}, get(t, s, c).Value)
}

func TestRefusesToWrite(t *testing.T) {
	below := newMemory(t)
	s := sealed(t, below, under(gcm(t, "k", 1))).Backend()
	_, err := s.Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: "/other", Value: []byte("k8s:enc:secret")}}})
	require.ErrorContains(t, err, "/other")
	require.NotContains(t, err.Error(), "secret")
	rev, err := below.Revision(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, rev)
}

func TestConfig(t *testing.T) {
	p := gcm(t, "k", 1)
	old, err := seal.NewKubernetesSecretbox("k", key(1))
	require.NoError(t, err)
	for text, rule := range map[string]seal.Rule{
		"has no prefix":     {Providers: []seal.Provider{p}},
		"does not end in /": {Prefixes: []string{"/registry"}, Providers: []seal.Provider{p}},
		"has no provider":   {Prefixes: []string{"/registry/"}},
		"is nil":            under(p, nil),
		"only reads":        under(old, p),
		"does not begin":    under(&service{Provider: p, prefix: "enc:"}),
		`has the prefix ""`: under(&service{Provider: p}),
	} {
		_, err := seal.New(newMemory(t), seal.Config{Rules: []seal.Rule{under(p), rule}})
		require.ErrorContains(t, err, text)
		require.ErrorContains(t, err, "rule 1")
		require.ErrorContains(t, sealed(t, newMemory(t)).SetRules(rule), text)
	}
	_, err = seal.New(nil, seal.Config{})
	require.Error(t, err)
}

// bare is a backend without anything optional.
type bare struct{ storage.Backend }

func TestOptionalInterfaces(t *testing.T) {
	type compacter interface {
		Compact(context.Context, int64) error
	}
	below := newMemory(t)
	full := sealed(t, below).Backend()
	require.Implements(t, (*compacter)(nil), full)
	require.Implements(t, (*storage.Leaser)(nil), full)
	none := sealed(t, bare{below}).Backend()
	require.NotImplements(t, (*compacter)(nil), none)
	require.NotImplements(t, (*storage.Leaser)(nil), none)
	one := sealed(t, struct {
		bare
		compacter
	}{bare{below}, below}).Backend()
	require.Implements(t, (*compacter)(nil), one)
	require.NotImplements(t, (*storage.Leaser)(nil), one)
	other := sealed(t, struct {
		bare
		storage.Leaser
	}{bare{below}, below}).Backend()
	require.NotImplements(t, (*compacter)(nil), other)
	require.Implements(t, (*storage.Leaser)(nil), other)
}

// service is a provider whose key service may be away, and which may think its own values stale.
type service struct {
	seal.Provider
	prefix string
	away   atomic.Bool
	stale  atomic.Bool
}

var errAway = errors.New("connection refused")

func (p *service) Prefix() string { return p.prefix }

func (p *service) Seal(ctx context.Context, key string, plain []byte) ([]byte, error) {
	if p.away.Load() {
		return nil, fmt.Errorf("%w: %w", seal.ErrUnavailable, errAway)
	}
	inner, err := p.Provider.Seal(ctx, key, plain)
	return append([]byte(p.prefix), inner...), err
}

func (p *service) Open(ctx context.Context, key string, sealed []byte) ([]byte, bool, error) {
	if p.away.Load() {
		return nil, false, fmt.Errorf("%w: %w", seal.ErrUnavailable, errAway)
	}
	plain, _, err := p.Provider.Open(ctx, key, sealed[len(p.prefix):])
	return plain, p.stale.Load(), err
}

// TestUnavailable: what cannot be opened for now is no corrupt object. Reads fail, the watch ends, and both go on where
// they were.
func TestUnavailable(t *testing.T) {
	p := &service{Provider: xaes(t, "k", 1), prefix: "k8s:enc:kms:v2:cloud:"}
	below := newMemory(t)
	s := sealed(t, below, under(xaes(t, "x", 2), p)).Backend()
	direct := sealed(t, below, under(p)).Backend()
	db := runDB(t, s)
	table, err := db.Table(storage.Schema{Prefix: secrets})
	require.NoError(t, err)
	put(t, direct, a, "1")
	_, err = table.Snapshot(t.Context(), 0, false)
	require.NoError(t, err)
	put(t, direct, b, "1")
	p.away.Store(true)
	_, err = s.Range(t.Context(), storage.Range{Prefix: secrets})
	require.ErrorIs(t, err, seal.ErrUnavailable)
	require.ErrorIs(t, err, errAway)
	require.ErrorContains(t, err, a)
	for _, err = range s.Watch(t.Context(), secrets, 1) {
		if err != nil {
			break
		}
	}
	require.ErrorIs(t, err, seal.ErrUnavailable)
	_, err = direct.Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: c, Value: []byte("x")}}})
	require.ErrorIs(t, err, seal.ErrUnavailable)
	p.away.Store(false)
	put(t, direct, c, "1")
	snap, err := table.Snapshot(t.Context(), 0, false)
	require.NoError(t, err)
	require.Equal(t, 3, snap.Len())
	for corrupt := range snap.Corrupt() {
		require.NoError(t, corrupt)
	}
}

// TestWarns tells of a wearing key once.
func TestWarns(t *testing.T) {
	var log bytes.Buffer
	p := &worn{Provider: gcm(t, "old", 1)}
	s, err := seal.New(newMemory(t), seal.Config{
		Rules: []seal.Rule{under(p)}, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, err)
	put(t, s.Backend(), a, "1")
	require.Empty(t, log.String())
	p.used = 6
	put(t, s.Backend(), a, "1")
	put(t, s.Backend(), a, "1")
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("\n")))
	require.Contains(t, log.String(), "wearing out")
}

type worn struct {
	seal.Provider
	used uint64
}

func (w *worn) Used() (used, limit uint64) { return w.used, 10 }
