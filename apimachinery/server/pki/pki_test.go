package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/bedplate/bedplate/apimachinery/server/pki"
)

func open(t require.TestingT, dir string) *pki.Authority {
	a, err := pki.Open(pki.Config{Dir: dir})
	require.NoError(t, err)
	return a
}

func TestReopened(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	a := open(t, dir)
	first, err := a.Serving("localhost", "127.0.0.1")
	require.NoError(t, err)
	b := open(t, dir)
	require.Equal(t, a.CertificatePEM(), b.CertificatePEM())
	require.True(t, a.SigningKey().Equal(b.SigningKey()))
	second, err := b.Serving("localhost", "127.0.0.1")
	require.NoError(t, err)
	require.Equal(t, first.Certificate, second.Certificate, "the same names keep the certificate")
	third, err := b.Serving("localhost", "127.0.0.1", "10.0.0.1")
	require.NoError(t, err)
	require.NotEqual(t, first.Certificate, third.Certificate)

	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 5, "no temporary file is left")
	for _, f := range files {
		info, err := f.Info()
		require.NoError(t, err)
		if filepath.Ext(f.Name()) == ".key" {
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), f.Name())
		}
	}
}

func TestRenewedNearItsEnd(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	a, err := pki.Open(pki.Config{Dir: dir, Now: func() time.Time { return now }})
	require.NoError(t, err)
	c, err := a.ServerTLS("localhost")
	require.NoError(t, err)
	first, err := c.GetCertificate(nil)
	require.NoError(t, err)
	now = now.Add(300 * 24 * time.Hour)
	again, err := c.GetCertificate(nil)
	require.NoError(t, err)
	require.Same(t, first, again)
	now = now.Add(40 * 24 * time.Hour)
	renewed, err := c.GetCertificate(nil)
	require.NoError(t, err)
	require.True(t, renewed.Leaf.NotAfter.After(first.Leaf.NotAfter))

	now = now.Add(11 * 365 * 24 * time.Hour)
	_, err = pki.Open(pki.Config{Dir: dir, Now: func() time.Time { return now }})
	require.ErrorContains(t, err, "has expired")
}

func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(dir string) error
		want   string
	}{
		{"truncated key", func(d string) error { return os.Truncate(filepath.Join(d, "ca.key"), 40) }, "ca.key is damaged"},
		{"empty certificate", func(d string) error { return os.Truncate(filepath.Join(d, "ca.crt"), 0) }, "ca.crt is damaged"},
		{"key in place of a certificate", func(d string) error { return os.Rename(filepath.Join(d, "sa.key"), filepath.Join(d, "ca.crt")) }, "ca.crt is damaged"},
		{"key lost", func(d string) error { return os.Remove(filepath.Join(d, "ca.key")) }, "ca.key is missing"},
		{"another's key", func(d string) error { return os.Rename(filepath.Join(d, "sa.key"), filepath.Join(d, "ca.key")) }, "don't belong together"},
		{"garbage in the token key", func(d string) error {
			return os.WriteFile(filepath.Join(d, "sa.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("x")}), 0o600)
		}, "sa.key is damaged"},
		{"loose mode", func(d string) error { return os.Chmod(filepath.Join(d, "ca.key"), 0o644) }, "can be read by others"},
		{"a folder in its place", func(d string) error {
			if err := os.Remove(filepath.Join(d, "ca.crt")); err != nil {
				return err
			}
			return os.Mkdir(filepath.Join(d, "ca.crt"), 0o700)
		}, "is a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir)
			require.NoError(t, c.damage(dir))
			_, err := pki.Open(pki.Config{Dir: dir})
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestCrashBetweenKeyAndCertificate: a key alone gets its certificate.
func TestCrashBetweenKeyAndCertificate(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	require.NoError(t, os.Remove(filepath.Join(dir, "ca.crt")))
	a := open(t, dir)
	_, err := a.Serving("localhost")
	require.NoError(t, err)
}

// TestDamagedServingCertificate: what can be made anew is.
func TestDamagedServingCertificate(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir)
	for _, file := range []string{"apiserver.crt", "apiserver.key"} {
		first, err := a.Serving("localhost")
		require.NoError(t, err)
		require.NoError(t, os.Truncate(filepath.Join(dir, file), 0))
		second, err := a.Serving("localhost")
		require.NoError(t, err)
		require.NotEqual(t, first.Certificate, second.Certificate)
	}
}

func TestUnwritableFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := pki.Open(pki.Config{Dir: filepath.Join(file, "pki")})
	require.Error(t, err)
}

// TestKubeconfigConnects goes the whole way: TLS both ways, with the identity in the certificate.
func TestKubeconfigConnects(t *testing.T) {
	a := open(t, "")
	config, err := a.ServerTLS("127.0.0.1")
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		leaf := hr.TLS.PeerCertificates[0]
		_, err := leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		fmt.Fprint(w, leaf.Subject.CommonName, leaf.Subject.Organization, err)
	}))
	s.Listener = tls.NewListener(s.Listener, config)
	s.Start()
	defer s.Close()
	s.URL = "https://" + s.Listener.Addr().String()

	data, err := a.Kubeconfig(s.URL, "jane", "system:masters", "dev")
	require.NoError(t, err)
	loaded, err := clientcmd.RESTConfigFromKubeConfig(data)
	require.NoError(t, err)
	require.Equal(t, s.URL, loaded.Host)
	cert, err := tls.X509KeyPair(loaded.CertData, loaded.KeyData)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(loaded.CAData))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}}}
	resp, err := client.Get(s.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "jane[dev system:masters] <nil>", string(body))
}

func TestBadArguments(t *testing.T) {
	a := open(t, "")
	_, err := a.Serving()
	require.Error(t, err)
	_, err = a.Serving("a b")
	require.Error(t, err)
	_, _, err = a.Client("", nil, 0)
	require.Error(t, err)
	_, err = pki.Kubeconfig(pki.KubeconfigSpec{})
	require.Error(t, err)
}

func Example() {
	a, err := pki.Open(pki.Config{}) // in memory; give a Dir to keep it
	if err != nil {
		fmt.Println(err)
		return
	}
	cert, err := a.Serving("localhost", "127.0.0.1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cert.Leaf.DNSNames, cert.Leaf.IPAddresses)
	// Output: [localhost] [127.0.0.1]
}

// BenchmarkFresh makes all that a new control plane needs, in memory and, with four syncs, in a folder.
func BenchmarkFresh(b *testing.B) {
	fresh := func(b *testing.B, dir func() string) {
		for b.Loop() {
			a := open(b, dir())
			if _, err := a.Serving("localhost", "127.0.0.1"); err != nil {
				b.Fatal(err)
			}
			if _, err := a.Kubeconfig("https://127.0.0.1:6443", "admin", "system:masters"); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/control-plane")
	}
	b.Run("memory", func(b *testing.B) { fresh(b, func() string { return "" }) })
	b.Run("folder", func(b *testing.B) {
		root, n := b.TempDir(), 0
		fresh(b, func() string {
			n++
			return filepath.Join(root, fmt.Sprint(n))
		})
	})
}
