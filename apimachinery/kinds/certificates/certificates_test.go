package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

func text(errs field.ErrorList) (out []string) {
	for _, e := range errs {
		out = append(out, e.Field+" "+e.Type.String())
	}
	return out
}

func pemOf(t *testing.T, kind string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if kind == "CERTIFICATE REQUEST" {
		der, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}}, key)
	}
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func of(t *testing.T, types ...certificatesv1.RequestConditionType) request {
	r := &certificatesv1.CertificateSigningRequest{}
	r.Name = "r"
	r.Spec.Request, r.Spec.SignerName = pemOf(t, "CERTIFICATE REQUEST"), "example.com/signer"
	r.Spec.Usages = []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}
	for _, c := range types {
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: c, Status: "True"})
	}
	return r
}

func TestCreate(t *testing.T) {
	_, err := apimachinery.NewRegistry(Resources()...)
	require.NoError(t, err)
	res := CertificateSigningRequests()
	ctx := apimachinery.WithUser(t.Context(), apimachinery.User{Name: "alice", UID: "u", Groups: []string{"g"}, Extra: map[string][]string{"k": {"v"}}})
	r := of(t, "Approved")
	r.Spec.Username, r.Spec.Extra = "root", map[string]certificatesv1.ExtraValue{"x": {"y"}}
	res.Prepare(ctx, r, nil)
	require.Empty(t, res.Validate(ctx, r, nil))
	require.Empty(t, r.Status)
	require.Equal(t, "alice", r.Spec.Username)
	require.Equal(t, "u", r.Spec.UID)
	require.Equal(t, []string{"g"}, r.Spec.Groups)
	require.Equal(t, map[string]certificatesv1.ExtraValue{"k": {"v"}}, r.Spec.Extra)
	require.Empty(t, res.ValidName("any thing", false))

	seconds := int32(599)
	for name, c := range map[string]struct {
		change func(s *certificatesv1.CertificateSigningRequestSpec)
		want   []string
	}{
		"no request":  {func(s *certificatesv1.CertificateSigningRequestSpec) { s.Request = nil }, []string{"spec.request Invalid value"}},
		"other PEM":   {func(s *certificatesv1.CertificateSigningRequestSpec) { s.Request = pemOf(t, "CERTIFICATE") }, []string{"spec.request Invalid value"}},
		"no usage":    {func(s *certificatesv1.CertificateSigningRequestSpec) { s.Usages = nil }, []string{"spec.usages Required value"}},
		"usages":      {func(s *certificatesv1.CertificateSigningRequestSpec) { s.Usages = append(s.Usages, "x", s.Usages[0]) }, []string{"spec.usages[1] Unsupported value", "spec.usages[2] Duplicate value"}},
		"legacy":      {func(s *certificatesv1.CertificateSigningRequestSpec) { s.SignerName = legacySigner }, []string{"spec.signerName Invalid value"}},
		"short lived": {func(s *certificatesv1.CertificateSigningRequestSpec) { s.ExpirationSeconds = &seconds }, []string{"spec.expirationSeconds Invalid value"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := of(t)
			c.change(&r.Spec)
			require.Equal(t, c.want, text(res.Validate(t.Context(), r, nil)))
		})
	}
}

func TestSignerName(t *testing.T) {
	long := strings.Repeat("a", 63)
	for name, want := range map[string]int{
		"example.com/signer": 0, "example.com/a.b": 0, "": 1, "signer": 1, "a.b/c/d": 1, "localhost/x": 1, "Example.com/x": 1, "example.com/X": 1, "a.b/": 1,
		strings.Repeat(long+".", 4) + "com/x": 1,
	} {
		require.Len(t, ValidateSignerName(name, field.NewPath("s")), want, name)
	}
}

// TestDoors: the object itself changes nothing, approvers the conditions, signers the certificate.
func TestDoors(t *testing.T) {
	res := CertificateSigningRequests()
	cert := pemOf(t, "CERTIFICATE")
	for name, c := range map[string]struct {
		sub    string
		old    []certificatesv1.RequestConditionType
		new    []certificatesv1.RequestConditionType
		issued []byte
		want   []string
	}{
		"approve":                 {"approval", nil, []certificatesv1.RequestConditionType{"Approved"}, nil, nil},
		"approve and deny":        {"approval", nil, []certificatesv1.RequestConditionType{"Approved", "Denied"}, nil, []string{"status.conditions Invalid value"}},
		"approve twice":           {"approval", nil, []certificatesv1.RequestConditionType{"Approved", "Approved"}, nil, []string{"status.conditions[1].type Duplicate value"}},
		"unapprove":               {"approval", []certificatesv1.RequestConditionType{"Approved"}, nil, nil, []string{"status.conditions Forbidden"}},
		"approve by status":       {"status", nil, []certificatesv1.RequestConditionType{"Approved"}, nil, []string{"status.conditions Forbidden"}},
		"fail by status":          {"status", nil, []certificatesv1.RequestConditionType{"Failed"}, nil, nil},
		"issue":                   {"status", []certificatesv1.RequestConditionType{"Approved"}, []certificatesv1.RequestConditionType{"Approved"}, cert, nil},
		"issue nonsense":          {"status", nil, nil, []byte("x"), []string{"status.certificate Invalid value"}},
		"issue with a key":        {"status", nil, nil, pem.EncodeToMemory(&pem.Block{Type: "KEY"}), []string{"status.certificate Invalid value"}},
		"issue by approval":       {"approval", nil, nil, cert, nil}, // is left out
		"nameless condition":      {"status", nil, []certificatesv1.RequestConditionType{""}, nil, []string{"status.conditions[0].type Required value"}},
		"wrong already":           {"status", []certificatesv1.RequestConditionType{"", ""}, []certificatesv1.RequestConditionType{"", ""}, nil, nil},
		"other condition is gone": {"status", []certificatesv1.RequestConditionType{"Other"}, nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			old := of(t, c.old...)
			stampConditions(old, old) // as whatever is stored
			n := old.DeepCopy()
			n.Status = of(t, c.new...).Status
			n.Status.Certificate = c.issued
			n.Spec.SignerName = "example.com/other"
			s := res.Subs[c.sub].Strategy
			s.Prepare(t.Context(), n, old)
			require.Equal(t, old.Spec, n.Spec)
			require.Equal(t, c.want, text(s.Validate(t.Context(), n, old)))
			for _, c := range n.Status.Conditions {
				require.False(t, c.LastUpdateTime.IsZero() || c.LastTransitionTime.IsZero())
			}
			res.Prepare(t.Context(), n, old)
			require.Equal(t, old.Status, n.Status)
		})
	}
}

func TestCertificateIsGivenOnce(t *testing.T) {
	old := of(t)
	old.Status.Certificate = pemOf(t, "CERTIFICATE")
	n := old.DeepCopy()
	n.Status.Certificate = pemOf(t, "CERTIFICATE")
	require.Equal(t, []string{"status.certificate Forbidden"}, text(CertificateSigningRequests().Subs["status"].Strategy.Validate(t.Context(), n, old)))
}

func TestTimesStay(t *testing.T) {
	old := of(t, "Approved", "Other")
	long := metav1.Unix(1000, 0)
	for i := range old.Status.Conditions {
		old.Status.Conditions[i].LastTransitionTime = long
	}
	n := of(t, "Approved", "Other")
	n.Status.Conditions[0].Message = "mine"
	prepareStatus(n, old)
	require.Equal(t, old.Status.Conditions[0].Message, n.Status.Conditions[0].Message, "what approvers say stays")
	require.Equal(t, long, n.Status.Conditions[1].LastTransitionTime)
}

func TestColumns(t *testing.T) {
	r := of(t, "Approved", "Failed")
	r.Status.Certificate = []byte("x")
	require.Equal(t, "Approved,Failed,Issued", state(r))
	require.Equal(t, "Denied", state(of(t, "Denied", "Approved")))
	seconds := int32(86400)
	r.Spec.ExpirationSeconds = &seconds
	require.Equal(t, "24h", columns()[4].Cell(r))
	for _, c := range columns() {
		require.NotNil(t, c.Cell(&certificatesv1.CertificateSigningRequest{}))
	}
}
