package encryption

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
	"github.com/bedplate/bedplate/storage/seal/kubernetes"
	"github.com/bedplate/bedplate/storage/seal/kubernetes/kmstest"
)

const path = "/registry/secrets/default/s"

// TestBothWays seals by one and opens by the other, under one file.
func TestBothWays(t *testing.T) {
	plugin := kmstest.Start(t)
	keys := func(form string) string {
		return fmt.Sprintf("%s: {keys: [{name: key1, secret: %q}, {name: key2, secret: %q}]}", form,
			base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef")),
			base64.StdEncoding.EncodeToString([]byte("fedcba9876543210fedcba9876543210")))
	}
	for name, provider := range map[string]string{
		"identity": "identity: {}", "aescbc": keys("aescbc"), "aesgcm": keys("aesgcm"), "secretbox": keys("secretbox"),
		"kms": "kms: {apiVersion: v2, name: mine, endpoint: " + plugin.Endpoint + "}",
	} {
		for entry, resource := range map[string]string{"resource": "secrets", "group": "'*.'", "all": "'*.*'"} {
			t.Run(name+"/"+entry, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "encryption.yaml")
				require.NoError(t, os.WriteFile(file, []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"+
					"resources: [{resources: ["+resource+"], providers: [{"+provider+"}]}]"), 0o600))
				theirs := loadTheirs(t, file)
				ours, below := loadOurs(t, file)
				for _, size := range []int{0, 1, 15, 16, 17, 1000, 100_000} {
					plain := bytes.Repeat([]byte("x"), size)
					if size == 0 && name == "kms" {
						plain = []byte("{}")
					}
					_, err := ours.Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: path, Value: bytes.Clone(plain)}}})
					require.NoError(t, err)
					got, stale, err := theirs.TransformFromStorage(t.Context(), read(t, below), value.DefaultContext(path))
					require.NoError(t, err)
					require.Equal(t, string(plain), string(got))
					// Each of the two makes a seed of its own, and looks at the key ID alone.
					require.False(t, stale)

					sealed, err := theirs.TransformToStorage(t.Context(), plain, value.DefaultContext(path))
					require.NoError(t, err)
					_, err = below.Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: path, Value: sealed}}})
					require.NoError(t, err)
					require.Equal(t, string(plain), string(read(t, ours)))
				}
			})
		}
	}
}

func read(t *testing.T, b storage.Backend) []byte {
	t.Helper()
	page, err := b.Range(t.Context(), storage.Range{Prefix: path})
	require.NoError(t, err)
	require.Len(t, page.KVs, 1)
	require.Nil(t, page.KVs[0].Corrupt)
	return page.KVs[0].Value
}

func loadTheirs(t *testing.T, file string) value.Transformer {
	t.Helper()
	c, err := encryptionconfig.LoadEncryptionConfig(t.Context(), file, false, "test")
	require.NoError(t, err)
	tr := encryptionconfig.StaticTransformers(c.Transformers).TransformerForResource(schema.GroupResource{Resource: "secrets"})
	require.Eventually(t, func() bool { // its first look at a plugin is in the background
		_, err := tr.TransformToStorage(t.Context(), []byte("x"), value.DefaultContext(path))
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
	return tr
}

func loadOurs(t *testing.T, file string) (sealed, below storage.Backend) {
	t.Helper()
	keys, err := kubernetes.Open(kubernetes.Config{File: file, Resources: []kubernetes.Resource{{Name: "secrets"}}})
	require.NoError(t, err)
	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	s, err := keys.Seal(b)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- keys.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	<-keys.Ready()
	require.NoError(t, keys.Check(t.Context()))
	return s.Backend(), b
}
