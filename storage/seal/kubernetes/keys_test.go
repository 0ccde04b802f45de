package kubernetes

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
	"github.com/bedplate/bedplate/storage/seal"
	"github.com/bedplate/bedplate/storage/seal/kubernetes/kmstest"
	"github.com/bedplate/bedplate/storage/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	path    = "/registry/secrets/default/s"
	secret1 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	secret2 = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
	head    = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"
)

func key32(t *testing.T) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(secret1)
	require.NoError(t, err)
	return raw
}

// TestVectors opens what kube-apiserver's own code (k8s.io/apiserver v0.36.3) sealed with this key.
func TestVectors(t *testing.T) {
	cbc, err := newCBC("key1", key32(t))
	require.NoError(t, err)
	box, err := newBox("key1", key32(t))
	require.NoError(t, err)
	const plain = `{"kind":"Secret","apiVersion":"v1"}`
	for p, text := range map[seal.Provider]string{
		cbc: "azhzOmVuYzphZXNjYmM6djE6a2V5MTqC7Nmq2IDERm7P9+qcLp+Qd2Gxywq+fEMAM1MBHW3Jo0mAKb4lm2Hcv9WHPevPT9Q5ET5mrAtdv5HpvrIBoRMp",
		box: "azhzOmVuYzpzZWNyZXRib3g6djE6a2V5MTpYPSXidNar+xTWFdNITYcIKUHLjyL3aJN204YL9Z9jlJ+/3a+OsZcnOvZDjut7y0nvmIhTnYZ/unyCnjwkFv5PudhiuSsxbKSTTuM=",
	} {
		raw, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		got, stale, err := p.Open(t.Context(), path, raw)
		require.NoError(t, err)
		require.False(t, stale)
		require.Equal(t, plain, string(got))
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", p, p, p), "abcdef")
		for n := range raw {
			_, _, err := p.Open(t.Context(), path, raw[:max(n, len(p.Prefix()))])
			require.Error(t, err)
		}
	}
	raw, err := base64.StdEncoding.DecodeString("P+e+6sKLREIxcLQn+O6Lmz844A2+Xfmd79ePirmkvIpXviJymrinXPW+cbe4448w/g6/px0MB4KaPAozIBZtpgtYDVQX7Z5b9H/5PSt2O4Zl5l7HC65d4EW4n1BD9WM=")
	require.NoError(t, err)
	d, err := newDEK(kindSeed, key32(t))
	require.NoError(t, err)
	got, err := d.open(path, raw)
	require.NoError(t, err)
	require.Equal(t, plain, string(got))
	_, err = d.open(path+"2", raw)
	require.ErrorIs(t, err, seal.ErrNotAuthentic, "it was moved")
}

func write(t *testing.T, file, text string) string {
	t.Helper()
	if file == "" {
		file = filepath.Join(t.TempDir(), "encryption.yaml")
	}
	require.NoError(t, os.WriteFile(file, []byte(head+text), 0o600))
	return file
}

func kmsFile(p *kmstest.Plugin) string {
	return "resources: [{resources: [secrets], providers: [{kms: {apiVersion: v2, name: mine, endpoint: " + p.Endpoint + "}}]}]"
}

// open opens keys over a memory; asks says whether its plugins are asked.
func open(t *testing.T, file string, reg prometheus.Registerer) (k *Keys, sealed, below storage.Backend) {
	t.Helper()
	k, err := Open(Config{File: file, Reload: true, Resources: []Resource{{Name: "secrets"}, {Name: "services", Prefix: "services/specs"}, {Group: "apps", Name: "deployments"}}, Registerer: reg, Server: "a"})
	require.NoError(t, err)
	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	s, err := k.Seal(b)
	require.NoError(t, err)
	k.askAll(t.Context())
	t.Cleanup(k.close)
	return k, s.Backend(), b
}

func put(t *testing.T, b storage.Backend, value string) error {
	t.Helper()
	_, err := b.Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: path, Value: []byte(value)}}})
	return err
}

func get(t *testing.T, b storage.Backend) (storage.KV, error) {
	t.Helper()
	page, err := b.Range(t.Context(), storage.Range{Prefix: path})
	if err != nil {
		return storage.KV{}, err
	}
	require.Len(t, page.KVs, 1)
	return page.KVs[0], nil
}

func TestPlugin(t *testing.T) {
	p := kmstest.Start(t)
	reg := prometheus.NewRegistry()
	k, sealed, below := open(t, write(t, "", kmsFile(p)), reg)
	require.NoError(t, k.Check(t.Context()))
	require.NoError(t, put(t, sealed, "canary"))
	raw, err := get(t, below)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(raw.Value, []byte("k8s:enc:kms:v2:mine:")))
	require.NotContains(t, string(raw.Value), "canary")
	got, err := get(t, sealed)
	require.NoError(t, err)
	require.Equal(t, "canary", string(got.Value))
	require.Zero(t, p.Decrypted(), "its own seed it knows")

	provider := k.plugins[0]
	_, stale, err := provider.Open(t.Context(), path, raw.Value)
	require.NoError(t, err)
	require.False(t, stale)
	p.Rotate()
	k.askAll(t.Context())
	_, stale, err = provider.Open(t.Context(), path, raw.Value)
	require.NoError(t, err)
	require.True(t, stale, "it was sealed by the key before")
	require.NoError(t, put(t, sealed, "two"))

	// Another server opens the values of both keys, each with one call.
	other, err := newKMS(provider.plugin, nil)
	require.NoError(t, err)
	defer other.conn.Close()
	_, _, err = other.Open(t.Context(), path, raw.Value)
	require.NoError(t, err)
	_, _, err = other.Open(t.Context(), path, raw.Value)
	require.NoError(t, err)
	require.Equal(t, 1, p.Decrypted())
	require.Equal(t, 2, testutil.CollectAndCount(k.metrics.statusAt))
	require.Equal(t, 1.0, testutil.ToFloat64(k.metrics.keyIDs.WithLabelValues(toStorage, "mine", hash("key-2"), hash("a"))))
	require.Equal(t, 2, testutil.CollectAndCount(k.metrics.operations))
}

// TestPluginUnwell: writes go on for as long as the seed lives, reads of known seeds always, and nothing is taken for
// corrupt.
func TestPluginUnwell(t *testing.T) {
	p := kmstest.Start(t)
	k, sealed, below := open(t, write(t, "", kmsFile(p)), nil)
	require.NoError(t, put(t, sealed, "one"))
	p.Fail(errors.New("the vault is on holiday"))
	k.askAll(t.Context())
	require.ErrorContains(t, k.Check(t.Context()), "the vault is on holiday")
	require.NoError(t, put(t, sealed, "two"))
	provider := k.plugins[0]
	provider.now = func() time.Time { return time.Now().Add(seedLife + time.Second) }
	require.ErrorIs(t, put(t, sealed, "three"), seal.ErrUnavailable)
	got, err := get(t, sealed)
	require.NoError(t, err)
	require.Equal(t, "two", string(got.Value))

	raw, err := get(t, below)
	require.NoError(t, err)
	other, err := newKMS(provider.plugin, nil)
	require.NoError(t, err)
	defer other.conn.Close()
	_, _, err = other.Open(t.Context(), path, raw.Value)
	require.ErrorIs(t, err, seal.ErrUnavailable)
	_, err = other.Seal(t.Context(), path, []byte("x"))
	require.ErrorIs(t, err, seal.ErrUnavailable)
	p.Fail(nil)
	for n := range raw.Value {
		bad := bytes.Clone(raw.Value)
		bad[n] ^= 0x10
		if n >= len(provider.prefix) {
			// What is said beside the value (annotations) is the plugin's to judge: the value is not another one.
			if plain, _, err := other.Open(t.Context(), path, bad); err == nil {
				require.Equal(t, "two", string(plain), "byte %d", n)
			}
		}
	}
	_, _, err = other.Open(t.Context(), path, raw.Value)
	require.NoError(t, err)
}

func TestReload(t *testing.T) {
	file := write(t, "", "resources: [{resources: [secrets], providers: [{identity: {}}]}]")
	k, sealed, below := open(t, file, nil)
	require.NoError(t, put(t, sealed, "canary"))
	raw, err := get(t, below)
	require.NoError(t, err)
	require.Equal(t, "canary", string(raw.Value))
	write(t, file, "resources: [{resources: [secrets], providers: [{aesgcm: {keys: [{name: a, secret: "+secret2+"}]}}, {identity: {}}]}]")
	k.reload(t.Context())
	require.NoError(t, k.Check(t.Context()))
	got, err := get(t, sealed)
	require.NoError(t, err)
	require.Equal(t, "canary", string(got.Value))
	p, err := k.sealed.Rewrite(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, 1, p.Rewritten)
	raw, err = get(t, below)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(raw.Value, []byte("k8s:enc:aesgcm:v1:a:")))
	write(t, file, "resources: []")
	k.reload(t.Context())
	require.ErrorContains(t, k.Check(t.Context()), "at least one")
	require.NoError(t, put(t, sealed, "still"))
}

func TestPrefixes(t *testing.T) {
	k, _, _ := open(t, write(t, "", "resources: [{resources: [secrets], providers: [{identity: {}}]}]"), nil)
	for name, want := range map[string][]string{
		"secrets": {"/registry/secrets/"}, "services": {"/registry/services/specs/"}, "deployments.apps": {"/registry/deployments/"},
		"*.": {"/registry/secrets/", "/registry/services/specs/"}, "*.apps": {"/registry/deployments/", "/registry/apps/"},
		"*.*": {"/registry/"}, "pandas.bears.example": {"/registry/bears.example/pandas/"}, "others": {"/registry/others/"},
	} {
		name, group, _ := strings.Cut(name, ".")
		require.Equal(t, want, k.prefixes(name, group))
	}
}

func TestFileRefused(t *testing.T) {
	keys := func(form, secret string) string {
		return "resources: [{resources: [secrets], providers: [{" + form + ": {keys: [{name: a, secret: " + secret + "}]}}]}]"
	}
	plugin := func(text string) string {
		return "resources: [{resources: [secrets], providers: [{kms: {" + text + "}}]}]"
	}
	names := func(list string) string {
		return "resources: [{resources: [" + list + "], providers: [{identity: {}}]}]"
	}
	for text, want := range map[string]string{
		"":              "at least one is required",
		"resources: []": "at least one is required",
		"resources: [{resources: [secrets], providers: []}]":                           "at least one resource and one provider",
		"resources: [{resources: [secrets], providers: [{}]}]":                         "these are 0",
		"resources: [{resources: [secrets], providers: [{identity: {}, aesgcm: {}}]}]": "these are 2",
		"resources: [{resources: [secrets], providers: [{aesgcm: {}}]}]":               "keys: at least one",
		"resources: [{resource: [secrets]}]":                                           "unknown",
		keys("aesgcm", "abcd"):                                                         "it has 3 bytes",
		keys("aescbc", "'!canary!'"):                                                   "it is not base64",
		keys("secretbox", "MDEyMzQ1Njc4OWFiY2RlZg=="):                                  "it has 16 bytes",
		plugin("name: a, endpoint: unix:///a"):                                         "only v2 is supported",
		plugin("apiVersion: v2, name: 'a:b', endpoint: unix:///a"):                     "colon",
		plugin("apiVersion: v2, name: a, endpoint: http://a"):                          "no unix socket",
		plugin("apiVersion: v2, name: a, endpoint: unix:///a, cachesize: 1"):           "no cachesize",
		plugin("apiVersion: v2, name: a, endpoint: unix:///a, timeout: -1s"):           "negative",
		names("Secrets"):              "capital letters",
		names("'*'"):                  "use '*.'",
		names("serviceipallocations"): "not served",
		names("a.events.k8s.io"):      "stored as 'events'",
		names("a.extensions"):         "no such group",
		names("'secrets.*'"):          "across groups",
		names("a, a"):                 "twice",
		names("a, '*.'"):              "overlaps",
		names("a, '*.*'"):             "overlaps",
		"resources: [{resources: ['*.'], providers: [{identity: {}}]}, {resources: [a], providers: [{identity: {}}]}]":       "masked",
		"resources: [{resources: ['*.*'], providers: [{identity: {}}]}, {resources: [a.apps], providers: [{identity: {}}]}]": "masked",
	} {
		_, err := parse([]byte(head + text))
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), "canary")
	}
	_, err := parse([]byte(head + "resources: [{resources: [secrets], providers: [{aesgcm: {keys: [{name: a, secret: [canary]}]}}]}]"))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "canary")
}

// TestStore runs the suite of all stores over a plugin.
func TestStore(t *testing.T) {
	p := kmstest.Start(t)
	file := write(t, "", strings.Replace(kmsFile(p), "[secrets]", "['*.*']", 1))
	storetest.Run(t, func(t *testing.T) storage.Backend {
		k, err := Open(Config{File: file, Root: "/"})
		require.NoError(t, err)
		t.Cleanup(k.close)
		k.askAll(t.Context())
		b, err := memory.New(memory.Config{})
		require.NoError(t, err)
		s, err := k.Seal(b)
		require.NoError(t, err)
		return s.Backend()
	})
}

func TestRun(t *testing.T) {
	p := kmstest.Start(t)
	k, err := Open(Config{File: write(t, "", kmsFile(p))})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.Run(ctx) }()
	<-k.Ready()
	require.NoError(t, k.Check(t.Context()))
	cancel()
	require.NoError(t, <-done)
	require.Error(t, k.Run(t.Context()))
}

func BenchmarkSeal(b *testing.B) {
	d, err := newDEK(kindSeed, make([]byte, seedSize))
	require.NoError(b, err)
	k := &kms{prefix: "k8s:enc:kms:v2:mine:", now: time.Now}
	k.state.Store(&writing{dek: d, keyID: "a", tail: make([]byte, 200), until: time.Now().Add(time.Hour)})
	value := make([]byte, 1024)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Seal(b.Context(), path, value); err != nil {
			b.Fatal(err)
		}
	}
}
