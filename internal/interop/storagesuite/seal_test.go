package storagesuite

import (
	"context"
	"crypto/aes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apiserver/pkg/storage/value"
	k8saes "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	k8ssecretbox "k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"

	bed "github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
	"github.com/bedplate/bedplate/storage/seal"
)

const (
	secretKey = "0123456789abcdef0123456789abcdef"
	secret    = `{"kind":"Secret","apiVersion":"v1","data":{"a":"Yg=="}}`
	at        = "/registry/secrets/default/s"
	elsewhere = "/registry/secrets/default/other"
)

var errForm = errors.New("a form that the configuration has not")

// kubernetes is a transformer as an API server makes it from its configuration.
func kubernetes(t *testing.T, form string) value.Transformer {
	var inner value.Transformer
	switch form {
	case "aesgcm":
		block, err := aes.NewCipher([]byte(secretKey))
		require.NoError(t, err)
		inner, err = k8saes.NewGCMTransformer(block)
		require.NoError(t, err)
	case "secretbox":
		inner = k8ssecretbox.NewSecretboxTransformer([32]byte([]byte(secretKey)))
	}
	return value.NewPrefixTransformers(errForm, value.PrefixTransformer{
		Prefix: []byte("k8s:enc:" + form + ":v1:key1:"), Transformer: inner,
	})
}

func under(t *testing.T, below bed.Backend, providers ...seal.Provider) bed.Backend {
	s, err := seal.New(below, seal.Config{Rules: []seal.Rule{{
		Prefixes: []string{"/registry/secrets/"}, Providers: providers,
	}}})
	require.NoError(t, err)
	return s.Backend()
}

func put(ctx context.Context, t *testing.T, b bed.Backend, key, value string) {
	_, err := b.Commit(ctx, bed.Txn{Then: []bed.Op{{Key: key, Value: []byte(value)}}})
	require.NoError(t, err)
}

func get(ctx context.Context, t *testing.T, b bed.Backend, key string) bed.KV {
	p, err := b.Range(ctx, bed.Range{Prefix: key})
	require.NoError(t, err)
	require.Len(t, p.KVs, 1)
	return p.KVs[0]
}

// TestSealReadsKubernetes opens what an API server sealed.
func TestSealReadsKubernetes(t *testing.T) {
	ctx := t.Context()
	gcm, err := seal.NewAESGCM("key1", []byte(secretKey))
	require.NoError(t, err)
	box, err := seal.NewKubernetesSecretbox("key1", []byte(secretKey))
	require.NoError(t, err)
	own, err := seal.NewXAESGCM("new", []byte(secretKey))
	require.NoError(t, err)
	for _, form := range []string{"aesgcm", "secretbox"} {
		below, err := memory.New(memory.Config{})
		require.NoError(t, err)
		raw, err := kubernetes(t, form).TransformToStorage(ctx, []byte(secret), value.DefaultContext(at))
		require.NoError(t, err)
		put(ctx, t, below, at, string(raw))
		put(ctx, t, below, elsewhere, string(raw))
		b := under(t, below, own, gcm, box)
		require.Equal(t, secret, string(get(ctx, t, b, at).Value), form)
		if form == "aesgcm" {
			require.ErrorIs(t, get(ctx, t, b, elsewhere).Corrupt, seal.ErrNotAuthentic, "it was moved")
		}
	}
}

// TestKubernetesReadsSeal lets an API server open what was sealed with the provider that both have.
func TestKubernetesReadsSeal(t *testing.T) {
	ctx := t.Context()
	below, err := memory.New(memory.Config{})
	require.NoError(t, err)
	gcm, err := seal.NewAESGCM("key1", []byte(secretKey))
	require.NoError(t, err)
	put(ctx, t, under(t, below, gcm), at, secret)
	raw := get(ctx, t, below, at).Value
	got, stale, err := kubernetes(t, "aesgcm").TransformFromStorage(ctx, raw, value.DefaultContext(at))
	require.NoError(t, err)
	require.False(t, stale)
	require.Equal(t, secret, string(got))
	_, _, err = kubernetes(t, "aesgcm").TransformFromStorage(ctx, raw, value.DefaultContext(elsewhere))
	require.Error(t, err, "it was moved")
}

// TestKubernetesRefusesOurForms makes sure that an API server never takes a form of ours for one of its own.
func TestKubernetesRefusesOurForms(t *testing.T) {
	ctx := t.Context()
	x, err := seal.NewXAESGCM("key1", []byte(secretKey))
	require.NoError(t, err)
	box, err := seal.NewSecretbox("key1", []byte(secretKey))
	require.NoError(t, err)
	for _, p := range []seal.Provider{x, box} {
		raw, err := p.Seal(ctx, at, []byte(secret))
		require.NoError(t, err)
		for _, form := range []string{"aesgcm", "secretbox"} {
			_, _, err = kubernetes(t, form).TransformFromStorage(ctx, raw, value.DefaultContext(at))
			require.ErrorIs(t, err, errForm)
		}
	}
}
