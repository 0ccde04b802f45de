package seal

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKubernetes reads what kube-apiserver's own code (k8s.io/apiserver v0.37.2) wrote with these keys.
func TestKubernetes(t *testing.T) {
	const plain = `{"kind":"Secret","apiVersion":"v1"}`
	gcm := must(NewAESGCM("key1", []byte("0123456789abcdef0123456789abcdef")))
	box := must(NewKubernetesSecretbox("key1", []byte("0123456789abcdef0123456789abcdef")))
	for _, c := range []struct {
		p      Provider
		stored string
	}{
		{gcm, "azhzOmVuYzphZXNnY206djE6a2V5MTos0JA2OH7AXICjNLAQgJR3YvHl3Gu3t+n5mWyLfNOCgvpK7lyJF5s+qx4m" +
			"nJ+K5TLj+rErZoTSMuwTKyqF2QU="},
		{box, "azhzOmVuYzpzZWNyZXRib3g6djE6a2V5MTqRTrNGcBMkgBhUR9n9nH2HeRUsRS4RV9il03ZpD4bL6cDBKUoBMBLr" +
			"sB+vRw8TZerKA3LH1iskIOCVH9H0onSDF2c60X5j851MaRc="},
	} {
		stored, err := base64.StdEncoding.DecodeString(c.stored)
		require.NoError(t, err)
		rule := &Rule{Providers: []Provider{must(NewXAESGCM("new", secret(1))), c.p}}
		got, current, err := rule.open(t.Context(), "/registry/secrets/default/s", stored)
		require.NoError(t, err)
		require.False(t, current)
		require.Equal(t, plain, string(got))
		_, _, err = rule.open(t.Context(), "/registry/secrets/default/other", stored)
		if c.p == Provider(gcm) {
			require.ErrorIs(t, err, ErrNotAuthentic)
		} else {
			require.NoError(t, err, "Kubernetes' secretbox may be moved: this is why it only reads")
		}
	}
	_, err := box.Seal(t.Context(), "/a", []byte("x"))
	require.Error(t, err)
}
