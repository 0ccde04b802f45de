package bedplate_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/server/audit"
)

// TestSealedAndAudited: what a Secret holds is nowhere on the disk, neither in the store nor in the audit's log.
func TestSealedAndAudited(t *testing.T) {
	const canary = "canary-in-a-coal-mine-42"
	dir, data := t.TempDir(), t.TempDir()
	file := filepath.Join(dir, "encryption.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aescbc: {keys: [{name: key1, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}
  - identity: {}
`), 0o600))
	policy, err := audit.ParsePolicy([]byte("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}"))
	require.NoError(t, err)
	log := filepath.Join(dir, "audit.log")
	run := func(do func(ctx context.Context, c *client.Client)) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		p, err := bedplate.Start(ctx, bedplate.Config{
			Dir: data, Encryption: file, Audit: &audit.Config{Policy: policy, File: &audit.File{Path: log, Delivery: audit.Delivery{Mode: audit.Batch}}},
		})
		require.NoError(t, err)
		do(ctx, p.Client())
		require.NoError(t, p.Stop())
	}
	run(func(ctx context.Context, c *client.Client) {
		_, err := client.For[*corev1.Secret](c).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}, Data: map[string][]byte{"k": []byte(canary)},
		})
		require.NoError(t, err)
	})
	run(func(ctx context.Context, c *client.Client) {
		s, err := client.For[*corev1.Secret](c).Get(ctx, "default", "s")
		require.NoError(t, err)
		require.Equal(t, canary, string(s.Data["k"]))
	})
	sealed, told := 0, 0
	for _, root := range []string{data, dir} {
		require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NotContains(t, string(raw), canary, path)
			require.NotContains(t, string(raw), base64.StdEncoding.EncodeToString([]byte(canary)), path)
			sealed += bytes.Count(raw, []byte("k8s:enc:aescbc:v1:key1:"))
			told += bytes.Count(raw, []byte(`"requestURI":"/api/v1/namespaces/default/secrets"`))
			return nil
		}))
	}
	require.NotZero(t, sealed)
	require.NotZero(t, told)
}

// TestReadiness: a control plane that has started is ready, and says by what; it tells of its own process.
func TestReadiness(t *testing.T) {
	p := start(t, bedplate.Config{Profiling: true})
	for path, want := range map[string]string{
		"/readyz?verbose": "[+]poststarthook/crd-informer-synced ok\n[+]poststarthook/rbac/bootstrap-roles ok\n" +
			"[+]poststarthook/scheduling/bootstrap-system-priority-classes ok\n[+]shutdown ok\nreadyz check passed\n",
		"/readyz/poststarthook/rbac/bootstrap-roles": "ok",
		"/metrics":                       "go_goroutines ",
		"/debug/pprof/goroutine?debug=1": "goroutine profile",
	} {
		require.Contains(t, get(t, p, path), want)
	}
	require.Contains(t, get(t, p, "/metrics"), "\napiserver_admission_controller_admission_duration_seconds_count{name=")
}

// get asks with client-go's transport, as kubectl get --raw does.
func get(t *testing.T, p *bedplate.ControlPlane, path string) string {
	t.Helper()
	raw, err := p.Kubeconfig("admin", "system:masters")
	require.NoError(t, err)
	cfg, err := clientcmd.RESTConfigFromKubeConfig(raw)
	require.NoError(t, err)
	c, err := rest.HTTPClientFor(cfg)
	require.NoError(t, err)
	resp, err := c.Get(p.URL() + path)
	require.NoError(t, err, path)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode, "%s: %s", path, body)
	return string(body)
}
