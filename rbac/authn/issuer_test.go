package authn_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/rbac/authn"
)

// world is what tokens are bound to, and the clock.
type world struct {
	now     time.Time
	objects map[string]apimachinery.Object
	err     error
}

func (w *world) Get(_ context.Context, kind, namespace, name string) (apimachinery.Object, error) {
	if w.err != nil {
		return nil, w.err
	}
	if o, ok := w.objects[kind+" "+apimachinery.Key(namespace, name)]; ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: strings.ToLower(kind) + "s"}, name)
}

func meta(ns, name, uid string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(uid)}
}

func newWorld() *world {
	return &world{now: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), objects: map[string]apimachinery.Object{
		"ServiceAccount ns/bot": &corev1.ServiceAccount{ObjectMeta: meta("ns", "bot", "sa-1")},
		"Pod ns/p":              &corev1.Pod{ObjectMeta: meta("ns", "p", "pod-1"), Spec: corev1.PodSpec{ServiceAccountName: "bot", NodeName: "n"}},
		"Pod ns/other":          &corev1.Pod{ObjectMeta: meta("ns", "other", "pod-2"), Spec: corev1.PodSpec{ServiceAccountName: "default"}},
		"Node n":                &corev1.Node{ObjectMeta: meta("", "n", "node-1")},
		"Secret ns/s":           &corev1.Secret{ObjectMeta: meta("ns", "s", "secret-1")},
	}}
}

func (w *world) account() *corev1.ServiceAccount {
	return w.objects["ServiceAccount ns/bot"].(*corev1.ServiceAccount)
}

func (w *world) issuer(t require.TestingT, key crypto.Signer, former ...crypto.PublicKey) *authn.Issuer {
	i, err := authn.NewIssuer(authn.IssuerConfig{Issuer: "https://iss", Key: key, Former: former, Audiences: []string{"api"}, Getter: w, Now: func() time.Time { return w.now }})
	require.NoError(t, err)
	return i
}

func newKey(t require.TestingT) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

func issue(t require.TestingT, i *authn.Issuer, w *world, spec authenticationv1.TokenRequestSpec) string {
	r, err := i.Issue(context.Background(), w.account(), &authenticationv1.TokenRequest{Spec: spec})
	require.NoError(t, err)
	return r.Status.Token
}

func boundTo(kind, name string) *authenticationv1.BoundObjectReference {
	return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name}
}

func part(t *testing.T, token string, n int) map[string]any {
	data, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n])
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(data, &m))
	return m
}

func TestClaimsAreThoseOfKubernetes(t *testing.T) {
	w := newWorld()
	i := w.issuer(t, newKey(t))
	life := int64(3607)
	r, err := i.Issue(t.Context(), w.account(), &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &life, BoundObjectRef: boundTo("Pod", "p")}})
	require.NoError(t, err)
	require.Equal(t, w.now.Add(3607*time.Second), r.Status.ExpirationTimestamp.UTC())
	require.Equal(t, []string{"api"}, r.Spec.Audiences)
	require.Equal(t, "bot", r.Name)

	header := part(t, r.Status.Token, 0)
	require.Equal(t, "ES256", header["alg"])
	require.NotEmpty(t, header["kid"])
	require.Len(t, header, 2)
	got := part(t, r.Status.Token, 1)
	require.NotEmpty(t, got["jti"])
	delete(got, "jti")
	at := float64(w.now.Unix())
	require.Equal(t, map[string]any{
		"iss": "https://iss", "sub": "system:serviceaccount:ns:bot", "aud": []any{"api"}, "iat": at, "nbf": at, "exp": at + 3607,
		"kubernetes.io": map[string]any{
			"namespace": "ns", "serviceaccount": map[string]any{"name": "bot", "uid": "sa-1"},
			"pod": map[string]any{"name": "p", "uid": "pod-1"}, "node": map[string]any{"name": "n", "uid": "node-1"},
		},
	}, got)

	u, good, ok, err := i.AuthenticateToken(t.Context(), r.Status.Token, nil)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, []string{"api"}, good)
	require.Equal(t, "system:serviceaccount:ns:bot", u.Name)
	require.Equal(t, "sa-1", u.UID)
	require.Equal(t, []string{"system:serviceaccounts", "system:serviceaccounts:ns"}, u.Groups)
	require.Equal(t, []string{"p"}, u.Extra["authentication.kubernetes.io/pod-name"])
	require.Equal(t, []string{"node-1"}, u.Extra["authentication.kubernetes.io/node-uid"])
	require.True(t, strings.HasPrefix(u.Extra["authentication.kubernetes.io/credential-id"][0], "JTI="))
}

// TestTokenMatrix is FAILURES 36: everything that can be wrong with a token, one at a time.
func TestTokenMatrix(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	plain := authenticationv1.TokenRequestSpec{}
	podBound := authenticationv1.TokenRequestSpec{BoundObjectRef: boundTo("Pod", "p")}
	for _, c := range []struct {
		name      string
		spec      authenticationv1.TokenRequestSpec
		audiences []string
		then      func(w *world)
		forge     func(t *testing.T, token string) string
		want      string // the error; "" none; "-" not ours
	}{
		{name: "good", spec: plain},
		{name: "good for an asked audience", spec: authenticationv1.TokenRequestSpec{Audiences: []string{"vault", "api"}}, audiences: []string{"vault"}},
		{name: "good one second before its end", spec: plain, then: func(w *world) { w.now = w.now.Add(time.Hour - time.Second) }},
		{name: "good with a signing key's former id", spec: podBound},
		{name: "wrong audience", spec: authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}}, want: "audiences"},
		{name: "other audience asked", spec: plain, audiences: []string{"vault"}, want: "audiences"},
		{name: "no audience asked", spec: plain, audiences: []string{}, want: "audiences"},
		{name: "expired", spec: plain, then: func(w *world) { w.now = w.now.Add(time.Hour) }, want: "expired"},
		{name: "not yet valid", spec: plain, then: func(w *world) { w.now = w.now.Add(-time.Hour) }, want: "not valid yet"},
		{name: "service account deleted", spec: plain, then: remove("ServiceAccount ns/bot"), want: "is gone"},
		{name: "service account made anew", spec: plain, then: renew("ServiceAccount ns/bot"), want: "does not match claim"},
		{name: "service account long in deletion", spec: plain, then: deleting("ServiceAccount ns/bot", time.Minute+time.Second), want: "has been deleted"},
		{name: "service account in deletion", spec: plain, then: deleting("ServiceAccount ns/bot", time.Minute-time.Second)},
		{name: "pod deleted", spec: podBound, then: remove("Pod ns/p"), want: "is gone"},
		{name: "pod made anew", spec: podBound, then: renew("Pod ns/p"), want: "does not match claim"},
		{name: "pod long in deletion", spec: podBound, then: deleting("Pod ns/p", 2*time.Minute), want: "has been deleted"},
		{name: "pod's node deleted", spec: podBound, then: remove("Node n")},
		{name: "node deleted", spec: authenticationv1.TokenRequestSpec{BoundObjectRef: boundTo("Node", "n")}, then: remove("Node n"), want: "is gone"},
		{name: "node made anew", spec: authenticationv1.TokenRequestSpec{BoundObjectRef: boundTo("Node", "n")}, then: renew("Node n"), want: "does not match claim"},
		{name: "secret deleted", spec: authenticationv1.TokenRequestSpec{BoundObjectRef: boundTo("Secret", "s")}, then: remove("Secret ns/s"), want: "is gone"},
		{name: "API down", spec: plain, then: func(w *world) { w.err = errors.New("down") }, want: "down"},
		{name: "none", forge: resign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), spec: plain, want: "signing method none is invalid"},
		{name: "signature cut off", forge: func(_ *testing.T, s string) string { return s[:strings.LastIndex(s, ".")+1] }, spec: plain, want: "verify token"},
		{name: "HMAC with the public key", forge: resign(jwt.SigningMethodHS256, publicPEM(key), nil), spec: plain, want: "signing method HS256 is invalid"},
		{name: "another's key under our id", forge: resign(jwt.SigningMethodES256, stranger, nil), spec: plain, want: "verify token"},
		{name: "another's key without an id", forge: resign(jwt.SigningMethodES256, stranger, func(h, _ map[string]any) { delete(h, "kid") }), spec: plain, want: "no key of this issuer"},
		{name: "our key without an id", forge: resign(jwt.SigningMethodES256, key, func(h, _ map[string]any) { delete(h, "kid") }), spec: plain, want: "no key of this issuer"},
		{name: "no end", forge: resign(jwt.SigningMethodES256, key, func(_, c map[string]any) { delete(c, "exp") }), spec: plain, want: "exp"},
		{name: "another issuer", forge: resign(jwt.SigningMethodES256, key, func(_, c map[string]any) { c["iss"] = "https://evil" }), spec: plain, want: "-"},
		{name: "no issuer", forge: resign(jwt.SigningMethodES256, key, func(_, c map[string]any) { delete(c, "iss") }), spec: plain, want: "-"},
		{name: "not bound", forge: resign(jwt.SigningMethodES256, key, func(_, c map[string]any) { delete(c, "kubernetes.io") }), spec: plain, want: "does not name a service account"},
		{name: "subject of another", forge: resign(jwt.SigningMethodES256, key, func(_, c map[string]any) { c["sub"] = "system:serviceaccount:kube-system:admin" }), spec: plain, want: "does not match its service account"},
		{name: "payload changed", forge: func(_ *testing.T, s string) string {
			p := strings.Split(s, ".")
			data, _ := base64.RawURLEncoding.DecodeString(p[1])
			p[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.ReplaceAll(string(data), ":bot", ":bos")))
			return strings.Join(p, ".")
		}, spec: plain, want: "verify token"},
		{name: "garbage", forge: func(*testing.T, string) string { return "a.b.c" }, spec: plain, want: "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			i := w.issuer(t, key)
			token := issue(t, i, w, c.spec)
			if c.forge != nil {
				token = c.forge(t, token)
			} else { // the signature is remembered, the rest must not be
				_, _, _, _ = i.AuthenticateToken(t.Context(), token, nil)
			}
			if c.then != nil {
				c.then(w)
			}
			_, _, ok, err := i.AuthenticateToken(t.Context(), token, c.audiences)
			require.Equal(t, c.want == "", ok)
			if c.want == "" || c.want == "-" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), token, "no token in errors")
		})
	}
}

func remove(key string) func(*world) { return func(w *world) { delete(w.objects, key) } }

func renew(key string) func(*world) { return func(w *world) { w.objects[key].SetUID("new") } }

func deleting(key string, since time.Duration) func(*world) {
	return func(w *world) {
		at := metav1.NewTime(w.now.Add(-since))
		w.objects[key].SetDeletionTimestamp(&at)
	}
}

// resign makes a token of the same content, changed, with another signature.
func resign(m jwt.SigningMethod, key any, change func(header, claims map[string]any)) func(*testing.T, string) string {
	return func(t *testing.T, token string) string {
		c := jwt.MapClaims(part(t, token, 1))
		out := jwt.NewWithClaims(m, c)
		out.Header["kid"] = part(t, token, 0)["kid"]
		if change != nil {
			change(out.Header, c)
		}
		s, err := out.SignedString(key)
		require.NoError(t, err)
		return s
	}
}

func publicPEM(k *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestIssueRefuses(t *testing.T) {
	w := newWorld()
	i := w.issuer(t, newKey(t))
	secs := func(n int64) *int64 { return &n }
	wrongUID := boundTo("Pod", "p")
	wrongUID.UID = "old"
	for _, c := range []struct {
		name string
		r    authenticationv1.TokenRequest
		is   func(error) bool
	}{
		{"too short", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: secs(599)}}, apierrors.IsInvalid},
		{"negative", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: secs(-1)}}, apierrors.IsInvalid},
		{"absurd", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: secs(1<<32 + 1)}}, apierrors.IsInvalid},
		{"another's name", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, apierrors.IsInvalid},
		{"another's namespace", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "x"}}, apierrors.IsInvalid},
		{"bound to a missing pod", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: boundTo("Pod", "x")}}, apierrors.IsNotFound},
		{"bound to an older pod", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: wrongUID}}, apierrors.IsConflict},
		{"bound to another's pod", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: boundTo("Pod", "other")}}, apierrors.IsBadRequest},
		{"bound to a kind of its own", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: boundTo("ConfigMap", "x")}}, apierrors.IsBadRequest},
	} {
		_, err := i.Issue(t.Context(), w.account(), &c.r)
		require.True(t, c.is(err), "%s: %v", c.name, err)
	}
	r, err := i.Issue(t.Context(), w.account(), &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: secs(1 << 30)}})
	require.NoError(t, err)
	require.Equal(t, int64(86400), *r.Spec.ExpirationSeconds, "what is asked for beyond the limit is cut")
	r, err = i.Issue(t.Context(), w.account(), &authenticationv1.TokenRequest{})
	require.NoError(t, err)
	require.Equal(t, int64(3600), *r.Spec.ExpirationSeconds)
}

func TestKeys(t *testing.T) {
	w := newWorld()
	old, rsaKey := newKey(t), mustRSA(t, 2048)
	token := issue(t, w.issuer(t, old), w, authenticationv1.TokenRequestSpec{})
	i := w.issuer(t, rsaKey, old.Public())
	_, _, ok, err := i.AuthenticateToken(t.Context(), token, nil)
	require.NoError(t, err)
	require.True(t, ok, "a former key's tokens stay good")
	fresh := issue(t, i, w, authenticationv1.TokenRequestSpec{})
	require.Equal(t, "RS256", part(t, fresh, 0)["alg"])
	_, _, ok, err = i.AuthenticateToken(t.Context(), fresh, nil)
	require.NoError(t, err)
	require.True(t, ok)
	_, _, _, err = w.issuer(t, rsaKey).AuthenticateToken(t.Context(), token, nil)
	require.ErrorContains(t, err, "no key of this issuer", "without it they don't")

	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	for _, c := range []authn.IssuerConfig{
		{Getter: w}, {Key: old}, {Key: p384, Getter: w}, {Key: old, Getter: w, MaxLife: time.Minute},
		{Key: old, Getter: w, Former: []crypto.PublicKey{"x"}},
	} {
		_, err := authn.NewIssuer(c)
		require.Error(t, err)
	}
}

func mustRSA(t *testing.T, bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	return k
}

func BenchmarkAuthenticateToken(b *testing.B) {
	w := newWorld()
	i := w.issuer(b, newKey(b))
	token := issue(b, i, w, authenticationv1.TokenRequestSpec{BoundObjectRef: boundTo("Pod", "p")})
	for b.Loop() {
		if _, _, ok, err := i.AuthenticateToken(b.Context(), token, nil); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

func TestServe(t *testing.T) {
	w := newWorld()
	i := w.issuer(t, newKey(t))
	var r apimachinery.Resource
	i.Serve(&r)
	sub := r.Subs["token"]
	o, err := sub.Do(t.Context(), nil, w.account(), sub.New())
	require.NoError(t, err)
	require.NotEmpty(t, o.(*authenticationv1.TokenRequest).Status.Token)
	_, err = sub.Do(t.Context(), nil, &corev1.Pod{}, sub.New())
	require.Error(t, err)
}
