package token

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/reconcile"
)

func secret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Annotations: map[string]string{corev1.ServiceAccountNameKey: "robot", corev1.ServiceAccountUIDKey: "u"}},
		Type:       corev1.SecretTypeServiceAccountToken,
		Data:       map[string][]byte{"token": []byte("t"), "ca.crt": []byte("ca"), "namespace": []byte("default")},
	}
}

func TestDiff(t *testing.T) {
	robot := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{UID: "u"}}
	ca := []byte("ca")
	for name, test := range map[string]struct {
		change  func(*corev1.Secret)
		account *corev1.ServiceAccount
		want    Action
	}{
		"full":              {func(*corev1.Secret) {}, robot, Nothing},
		"of another type":   {func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, nil, Nothing},
		"being deleted":     {func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{} }, nil, Nothing},
		"no account":        {func(*corev1.Secret) {}, nil, Remove},
		"account replaced":  {func(s *corev1.Secret) { s.Annotations[corev1.ServiceAccountUIDKey] = "v" }, robot, Remove},
		"fresh":             {func(s *corev1.Secret) { delete(s.Annotations, corev1.ServiceAccountUIDKey) }, robot, Fill},
		"no token":          {func(s *corev1.Secret) { delete(s.Data, "token") }, robot, Fill},
		"old authority":     {func(s *corev1.Secret) { s.Data["ca.crt"] = []byte("old") }, robot, Fill},
		"other's namespace": {func(s *corev1.Secret) { s.Data["namespace"] = []byte("x") }, robot, Fill},
	} {
		s := secret()
		test.change(s)
		require.Equal(t, test.want, Diff(s, test.account, ca), name)
	}
	require.ErrorContains(t, Add(&reconcile.Manager{}, Config{}), "Issuer must be set")
}

func ExampleDiff() {
	fmt.Println(Diff(secret(), nil, nil) == Remove)
	// Output: true
}
