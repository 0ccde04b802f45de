package podcertificates

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

func text(errs field.ErrorList) (out []string) {
	for _, e := range errs {
		out = append(out, e.Field+" "+e.Type.String())
	}
	return out
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// certificate makes one in PEM.
func certificate(t *testing.T, key crypto.Signer, change func(*x509.Certificate)) string {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(2 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func stub(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	require.NoError(t, err)
	return der
}

func TestRegistry(t *testing.T) {
	r, err := apimachinery.NewRegistry(Resources()...)
	require.NoError(t, err)
	for _, res := range r.All() {
		for _, c := range res.Views[0].Columns {
			require.NotNil(t, c.Cell(res.New()))
		}
	}
}

func TestBundle(t *testing.T) {
	root, other := certificate(t, newKey(t), nil), certificate(t, newKey(t), nil)
	leaf := certificate(t, newKey(t), func(c *x509.Certificate) { c.IsCA = false })
	block := func(kind string, headers map[string]string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Headers: headers, Bytes: []byte("x")}))
	}
	for name, c := range map[string]struct {
		name, signer, bundle string
		want                 []string
	}{
		"of nobody":      {"roots", "", root + other, nil},
		"of a signer":    {"example.com:signer:v1", "example.com/signer", root, nil},
		"colon":          {"a:b", "", root, []string{"metadata.name Invalid value"}},
		"other prefix":   {"v1", "example.com/signer", root, []string{"metadata.name Invalid value"}},
		"bad rest":       {"example.com:signer:V", "example.com/signer", root, []string{"metadata.name Invalid value"}},
		"bad signer":     {"signer:v", "signer", root, []string{"spec.signerName Invalid value"}},
		"none":           {"a", "", "text", []string{"spec.trustBundle Invalid value"}},
		"twice":          {"a", "", root + other + root, []string{"spec.trustBundle Invalid value"}},
		"all sorts":      {"a", "", block("KEY", nil) + block("CERTIFICATE", map[string]string{"a": "b"}) + block("CERTIFICATE", nil) + leaf, []string{"spec.trustBundle Invalid value", "spec.trustBundle Invalid value", "spec.trustBundle Invalid value", "spec.trustBundle Invalid value"}},
		"more than 1 MB": {"a", "", strings.Repeat("x", 1<<20+1), []string{"spec.trustBundle Too long"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := &certificatesv1.ClusterTrustBundle{Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: c.signer, TrustBundle: c.bundle}}
			b.Name = c.name
			require.Equal(t, c.want, text(ClusterTrustBundles().Validate(t.Context(), b, nil)))
		})
	}
	old := &certificatesv1.ClusterTrustBundle{Spec: certificatesv1.ClusterTrustBundleSpec{TrustBundle: "unread"}}
	old.Name = "a"
	n := old.DeepCopy()
	require.Empty(t, ClusterTrustBundles().Validate(t.Context(), n, old), "what stays is not read")
	n.Spec.SignerName = "example.com/x"
	n.GenerateName = "b-"
	require.Equal(t, []string{"metadata.name Invalid value", "metadata.generateName Invalid value", "spec.signerName Invalid value"}, text(ClusterTrustBundles().Validate(t.Context(), n, old)))
}

func asked(t *testing.T, key crypto.Signer) request {
	r := &certificatesv1.PodCertificateRequest{Spec: certificatesv1.PodCertificateRequestSpec{
		SignerName: "example.com/signer", PodName: "p", PodUID: "1", ServiceAccountName: "default", ServiceAccountUID: "2", NodeName: "n1", NodeUID: "3",
		StubPKCS10Request: stub(t, key),
	}}
	PodCertificateRequests().Default(r)
	return r
}

func TestRequest(t *testing.T) {
	res, key := PodCertificateRequests(), newKey(t)
	require.EqualValues(t, 86400, *asked(t, key).Spec.MaxExpirationSeconds)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change func(s *certificatesv1.PodCertificateRequestSpec)
		want   []string
	}{
		"good": {func(*certificatesv1.PodCertificateRequestSpec) {}, nil},
		"no owners": {func(s *certificatesv1.PodCertificateRequestSpec) {
			s.PodUID, s.ServiceAccountName, s.NodeName, s.NodeUID = "", "A", "A_", ""
		}, []string{
			"spec.podUID Invalid value", "spec.serviceAccountName Invalid value", "spec.nodeName Invalid value", "spec.nodeUID Invalid value",
		}},
		"long UID": {func(s *certificatesv1.PodCertificateRequestSpec) { s.PodUID = types.UID(strings.Repeat("x", 129)) }, []string{"spec.podUID Too long"}},
		"annotations": {func(s *certificatesv1.PodCertificateRequestSpec) {
			s.UnverifiedUserAnnotations = map[string]string{"plain": "x"}
		}, []string{"spec.unverifiedUserAnnotations Invalid value"}},
		"too short": {func(s *certificatesv1.PodCertificateRequestSpec) { *s.MaxExpirationSeconds = 3599 }, []string{"spec.maxExpirationSeconds Invalid value"}},
		"91 days":   {func(s *certificatesv1.PodCertificateRequestSpec) { *s.MaxExpirationSeconds = longest }, nil},
		"of Kubernetes": {func(s *certificatesv1.PodCertificateRequestSpec) {
			s.SignerName, *s.MaxExpirationSeconds = "kubernetes.io/x", day+1
		}, []string{"spec.maxExpirationSeconds Invalid value"}},
		"no life":  {func(s *certificatesv1.PodCertificateRequestSpec) { s.MaxExpirationSeconds = nil }, []string{"spec.maxExpirationSeconds Required value"}},
		"no stub":  {func(s *certificatesv1.PodCertificateRequestSpec) { s.StubPKCS10Request = nil }, []string{"spec Invalid value"}},
		"nonsense": {func(s *certificatesv1.PodCertificateRequestSpec) { s.StubPKCS10Request = []byte("x") }, []string{"spec.stubPKCS10Request Invalid value"}},
		"long":     {func(s *certificatesv1.PodCertificateRequestSpec) { s.StubPKCS10Request = make([]byte, 10<<10+1) }, []string{"spec.stubPKCS10Request Too long"}},
		"weak":     {func(s *certificatesv1.PodCertificateRequestSpec) { s.StubPKCS10Request = stub(t, p224) }, []string{"spec.stubPKCS10Request Invalid value"}},
		"small":    {func(s *certificatesv1.PodCertificateRequestSpec) { s.StubPKCS10Request = stub(t, small) }, []string{"spec.stubPKCS10Request Invalid value"}},
		"signature": {func(s *certificatesv1.PodCertificateRequestSpec) {
			s.StubPKCS10Request[len(s.StubPKCS10Request)-1] ^= 1
		}, []string{"spec.stubPKCS10Request Invalid value"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := asked(t, key)
			c.change(&r.Spec)
			require.Equal(t, c.want, text(res.Validate(t.Context(), r, nil)))
		})
	}
	n := asked(t, key)
	n.Spec.PodName = "other"
	require.Equal(t, []string{"spec Invalid value"}, text(res.Validate(t.Context(), n, asked(t, key))))
}

func condition(kind string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: "R", LastTransitionTime: metav1.Now()}
}

// given is a request with a certificate.
func given(t *testing.T, r request, key crypto.Signer, change func(*x509.Certificate)) request {
	n := r.DeepCopy()
	chain := certificate(t, key, change)
	block, _ := pem.Decode([]byte(chain))
	leaf, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	from, to, refresh := metav1.NewTime(leaf.NotBefore), metav1.NewTime(leaf.NotAfter), metav1.NewTime(leaf.NotBefore.Add(30*time.Minute))
	n.Status = certificatesv1.PodCertificateRequestStatus{
		Conditions: []metav1.Condition{condition("Issued")}, CertificateChain: chain, NotBefore: &from, NotAfter: &to, BeginRefreshAt: &refresh,
	}
	return n
}

func TestIssue(t *testing.T) {
	s, key := PodCertificateRequests().Subs["status"].Strategy, newKey(t)
	r := asked(t, key)
	good := given(t, r, key, nil)
	require.Empty(t, text(s.Validate(t.Context(), good, r)))
	require.Equal(t, "Issued", state(good))
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: time.Now().Add(d)} }
	for name, c := range map[string]struct {
		change func(n request)
		want   string
	}{
		"no chain": {func(n request) { n.Status.CertificateChain = "x" }, "status.certificateChain Invalid value"},
		"a key":    {func(n request) { n.Status.CertificateChain = string(pem.EncodeToMemory(&pem.Block{Type: "KEY"})) }, "status.certificateChain Invalid value"},
		"nonsense": {func(n request) {
			n.Status.CertificateChain = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"}))
		}, "status.certificateChain Invalid value"},
		"and a key": {func(n request) { n.Status.CertificateChain += string(pem.EncodeToMemory(&pem.Block{Type: "KEY"})) }, "status.certificateChain Invalid value"},
		"and nonsense": {func(n request) {
			n.Status.CertificateChain += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"}))
		}, "status.certificateChain Invalid value"},
		"too long":      {func(n request) { n.Status.CertificateChain = string(make([]byte, 100<<10+1)) }, "status.certificateChain Too long"},
		"another's key": {func(n request) { n.Status = given(t, r, newKey(t), nil).Status }, "status.certificateChain Invalid value"},
		"a name": {func(n request) {
			n.Status = given(t, r, key, func(c *x509.Certificate) { c.DNSNames = []string{"a..b"} }).Status
		}, "status.certificateChain Invalid value"},
		"an address": {func(n request) {
			n.Status = given(t, r, key, func(c *x509.Certificate) { c.EmailAddresses = []string{"x@@y"} }).Status
		}, "status.certificateChain Invalid value"},
		"short": {func(n request) {
			n.Status = given(t, r, key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(30 * time.Minute) }).Status
		}, "status.certificateChain Invalid value"},
		"long": {func(n request) {
			n.Status = given(t, r, key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(25 * time.Hour) }).Status
		}, "status.certificateChain Invalid value"},
		"old": {func(n request) {
			n.Status = given(t, r, key, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(-6 * time.Minute) }).Status
		}, "status.notBefore Invalid value"},
		"no time":      {func(n request) { n.Status.NotAfter = nil }, "status.notAfter Required value"},
		"from":         {func(n request) { n.Status.NotBefore = at(time.Minute) }, "status.notBefore Invalid value"},
		"to":           {func(n request) { n.Status.NotAfter = at(time.Minute) }, "status.notAfter Invalid value"},
		"refresh soon": {func(n request) { n.Status.BeginRefreshAt = at(time.Minute) }, "status.beginRefreshAt Invalid value"},
		"refresh late": {func(n request) { n.Status.BeginRefreshAt = at(119 * time.Minute) }, "status.beginRefreshAt Invalid value"},
		"denied too":   {func(n request) { n.Status.Conditions = append(n.Status.Conditions, condition("Denied")) }, "status.conditions.[1].type Invalid value"},
		"other":        {func(n request) { n.Status.Conditions[0].Type = "Other" }, "status.conditions.[0].type Unsupported value"},
		"not true":     {func(n request) { n.Status.Conditions[0].Status = "False" }, "status.conditions.[0].status Unsupported value"},
		"only denied":  {func(n request) { n.Status.Conditions[0].Type = "Denied" }, "status Invalid value"},
		"nothing":      {func(n request) { n.Status.Conditions = nil }, "status Invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			n := good.DeepCopy()
			c.change(n)
			s.Prepare(t.Context(), n, r)
			require.Equal(t, []string{c.want}, text(s.Validate(t.Context(), n, r)))
		})
	}
	again := good.DeepCopy()
	again.Status.Conditions[0].Message = "m"
	require.Equal(t, []string{"status Invalid value"}, text(s.Validate(t.Context(), again, good)), "what has ended stays so")
}
