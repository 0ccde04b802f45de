package certificates_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/admission/certificates"
	"github.com/bedplate/bedplate/apimachinery"
)

// rights allows the verbs by signer, to anybody.
type rights map[string]string

func (r rights) Authorize(_ context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
	if a.Group != "certificates.k8s.io" || a.Resource != "signers" || a.Version != "*" {
		return apimachinery.Deny, "", errors.New("unexpected")
	}
	if r[a.Name] == a.Verb {
		return apimachinery.Allow, "", nil
	}
	return apimachinery.NoOpinion, "", nil
}

// judge asks all plugins.
func judge(r rights, op, sub string, o, old apimachinery.Object) error {
	a := &apimachinery.Admission{
		Operation: op, Sub: sub, Name: "x", Object: o, Old: old, Kind: certificatesv1.SchemeGroupVersion.WithKind("PodCertificateRequest"),
		User: apimachinery.User{Name: "alice"},
	}
	for _, p := range certificates.Plugins(r) {
		if err := p.Validate.Validate(context.Background(), a); err != nil {
			return err
		}
	}
	return nil
}

func request(signer string) *certificatesv1.CertificateSigningRequest {
	return &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: signer}}
}

func TestApproval(t *testing.T) {
	old := request("example.com/signer")
	for name, r := range map[string]rights{"the signer": {"example.com/signer": "approve"}, "the domain": {"example.com/*": "approve"}} {
		require.NoError(t, judge(r, "UPDATE", "approval", request("other.com/x"), old), name)
	}
	for name, r := range map[string]rights{"none": {}, "another verb": {"example.com/signer": "sign"}, "what it shall be": {"other.com/x": "approve"}} {
		require.True(t, apierrors.IsForbidden(judge(r, "UPDATE", "approval", request("other.com/x"), old)), name)
	}
	require.NoError(t, judge(nil, "UPDATE", "", old, old))
}

func TestSigning(t *testing.T) {
	old, issued, failed := request("a.b/c"), request("a.b/c"), request("a.b/c")
	issued.Status.Certificate = []byte("x")
	failed.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: "Failed"}}
	for _, n := range []*certificatesv1.CertificateSigningRequest{issued, failed} {
		require.True(t, apierrors.IsForbidden(judge(rights{"a.b/c": "approve"}, "UPDATE", "status", n, old)))
		require.NoError(t, judge(rights{"a.b/c": "sign"}, "UPDATE", "status", n, old))
	}
	require.NoError(t, judge(nil, "UPDATE", "status", old.DeepCopy(), old))
}

func TestPodSigning(t *testing.T) {
	old := &certificatesv1.PodCertificateRequest{Spec: certificatesv1.PodCertificateRequestSpec{SignerName: "a.b/c"}}
	n := old.DeepCopy()
	require.NoError(t, judge(nil, "UPDATE", "status", n, old))
	n.Status.Conditions = []metav1.Condition{{Type: "Denied"}}
	require.NoError(t, judge(rights{"a.b/*": "sign"}, "UPDATE", "status", n, old))
	err := judge(nil, "UPDATE", "status", n, old)
	require.True(t, apierrors.IsInvalid(err), "%v", err)
	var status *apierrors.StatusError
	require.ErrorAs(t, err, &status)
	require.Equal(t, "spec.signerName", status.ErrStatus.Details.Causes[0].Field)
}

func TestAttest(t *testing.T) {
	of := func(signer, text string) *certificatesv1.ClusterTrustBundle {
		return &certificatesv1.ClusterTrustBundle{Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: text}}
	}
	require.NoError(t, judge(nil, "CREATE", "", of("", "x"), nil))
	require.NoError(t, judge(rights{"a.b/c": "attest"}, "CREATE", "", of("a.b/c", "x"), nil))
	require.True(t, apierrors.IsForbidden(judge(nil, "CREATE", "", of("a.b/c", "x"), nil)))
	require.True(t, apierrors.IsForbidden(judge(nil, "UPDATE", "", of("a.b/c", "y"), of("a.b/c", "x"))))
	collected := of("a.b/c", "x")
	collected.Finalizers = []string{"a.b/c"}
	require.NoError(t, judge(nil, "UPDATE", "", collected, of("a.b/c", "x")))
	require.NoError(t, judge(nil, "DELETE", "", nil, of("a.b/c", "x")))
}

func TestSubjectRestriction(t *testing.T) {
	of := func(signer string, groups ...string) *certificatesv1.CertificateSigningRequest {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{Organization: groups}}, key)
		require.NoError(t, err)
		r := request(signer)
		r.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		return r
	}
	const signer = certificatesv1.KubeAPIServerClientSignerName
	require.NoError(t, judge(nil, "CREATE", "", of(signer, "devs"), nil))
	require.NoError(t, judge(nil, "CREATE", "", of("example.com/x", "system:masters"), nil))
	require.True(t, apierrors.IsForbidden(judge(nil, "CREATE", "", of(signer, "devs", "system:masters"), nil)))
	require.True(t, apierrors.IsForbidden(judge(nil, "CREATE", "", request(signer), nil)))
}

// Whoever approves must have the right to it on the signer.
func Example() {
	err := judge(rights{"example.com/signer": "sign"}, "UPDATE", "approval", request("example.com/signer"), request("example.com/signer"))
	fmt.Println(apierrors.ReasonForError(err))
	// Output: Forbidden
}
