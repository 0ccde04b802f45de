package rbac_test

import (
	"context"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/admission/lifecycle"
	"github.com/bedplate/bedplate/admission/noderestriction"
	"github.com/bedplate/bedplate/admission/serviceaccount"
	"github.com/bedplate/bedplate/admission/tolerations"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	kinds "github.com/bedplate/bedplate/apimachinery/kinds/rbac"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
	"github.com/bedplate/bedplate/rbac"
	"github.com/bedplate/bedplate/rbac/authn"
	"github.com/bedplate/bedplate/rbac/node"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// chain is a server with the whole security chain, and whoever may log in to it.
type chain struct {
	ca    *pki.Authority
	reg   *apimachinery.Registry
	index *rbac.Index
	admin *client.Client // in process
	url   string
}

// The lookups of the chain's parts, by the in-process client.

func (c *chain) Get(ctx context.Context, kind, ns, name string) (apimachinery.Object, error) {
	return authn.FromClient(c.admin).Get(ctx, kind, ns, name)
}

func (c *chain) Namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	return client.For[*corev1.Namespace](c.admin).Get(ctx, "", name)
}

func (c *chain) ServiceAccount(ctx context.Context, ns, name string) (*corev1.ServiceAccount, error) {
	return client.For[*corev1.ServiceAccount](c.admin).Get(ctx, ns, name)
}

func (c *chain) Pod(ctx context.Context, ns, name string) (*corev1.Pod, error) {
	return client.For[*corev1.Pod](c.admin).Get(ctx, ns, name)
}

func (c *chain) Node(ctx context.Context, name string) (*corev1.Node, error) {
	return client.For[*corev1.Node](c.admin).Get(ctx, "", name)
}

func (c *chain) PodsOn(name string) iter.Seq[*corev1.Pod] {
	list, err := client.For[*corev1.Pod](c.admin).List(context.Background(), client.Fields("spec.nodeName="+name))
	if err != nil {
		return func(func(*corev1.Pod) bool) {}
	}
	return slices.Values(list.Items)
}

func newChain(t *testing.T) *chain {
	c := &chain{index: index(t, rbac.Bootstrap()...)}
	var err error
	c.ca, err = pki.Open(pki.Config{})
	require.NoError(t, err)
	issuer, err := authn.NewIssuer(authn.IssuerConfig{Key: c.ca.SigningKey(), Getter: c})
	require.NoError(t, err)
	resources := slices.Concat(core.Resources(), coordination.Resources(), kinds.Resources())
	for i := range resources {
		if resources[i].Name.Resource == "serviceaccounts" {
			issuer.Serve(&resources[i])
		}
	}
	c.reg, err = apimachinery.NewRegistry(resources...)
	require.NoError(t, err)
	z := rbac.Union(rbac.Masters(), node.New(c), rbac.New(c.index))
	restriction, err := noderestriction.New(noderestriction.Config{NodeOf: node.NameOf, Lookup: c})
	require.NoError(t, err)
	tls, err := c.ca.ServerTLS("127.0.0.1")
	require.NoError(t, err)
	backend, err := memory.New(memory.Config{})
	require.NoError(t, err)
	db, err := storage.New(backend, storage.Config{})
	require.NoError(t, err)
	s, err := server.New(server.Config{
		Registry: c.reg, DB: db, TLS: tls, Authorizer: z,
		Authenticator: authn.Union(authn.Certificates(c.ca.Pool(), nil), authn.Bearer(issuer)),
		Admission:     []apimachinery.Plugin{lifecycle.New(c), serviceaccount.New(c), tolerations.New(tolerations.Config{}), restriction, rbac.NoEscalation(c.index, z)},
	})
	require.NoError(t, err)
	c.admin = client.New(s.As(apimachinery.User{Name: "admin", Groups: []string{rbac.MastersGroup}}), c.reg)
	run(t, db, s)
	c.url = "https://" + s.Addr().String()
	return c
}

func run(t *testing.T, db *storage.DB, s *server.Server) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = db.Run(ctx) })
	<-db.Ready()
	wg.Go(func() { _ = s.Run(ctx) })
	<-s.Ready()
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// as logs in over HTTPS: by certificate, or by token if there is one, or not at all where the name is empty.
func (c *chain) as(t *testing.T, name, token string, groups ...string) *client.Client {
	config := client.Config{Server: c.url, CA: c.ca.CertificatePEM()}
	var err error
	switch {
	case token != "":
		config.Token = func(context.Context) (string, error) { return token, nil }
	case name != "":
		config.Cert, config.Key, err = c.ca.Client(name, groups, time.Hour)
		require.NoError(t, err)
	}
	conn, err := client.HTTPS(config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return client.New(conn, c.reg)
}

func (c *chain) grant(t *testing.T, o *rbacv1.RoleBinding) {
	created, err := client.For[*rbacv1.RoleBinding](c.admin).Create(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, c.index.Set(created))
}

func named(ns, name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }

func webPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: named("team", name), Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Image: "i", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "needed"}}}},
	}}}}
}

// TestChain lets people, service accounts and nodes at one server with everything in place.
func TestChain(t *testing.T) {
	c := newChain(t)
	_, err := client.For[*corev1.Namespace](c.admin).Create(t.Context(), &corev1.Namespace{ObjectMeta: named("", "team")})
	require.NoError(t, err)
	c.grant(t, roleBinding("team", "jane", "ClusterRole", "edit", userSubject("jane")))
	c.grant(t, roleBinding("team", "boss", "ClusterRole", "admin", userSubject("boss")))
	t.Run("nobody", func(t *testing.T) { testNobody(t, c) })
	t.Run("people", func(t *testing.T) { testPeople(t, c) })
	t.Run("tokens", func(t *testing.T) { testTokens(t, c) })
	t.Run("nodes", func(t *testing.T) { testNodes(t, c) })
}

func testNobody(t *testing.T, c *chain) {
	_, err := client.For[*corev1.Pod](c.as(t, "", "")).List(t.Context())
	require.True(t, apierrors.IsForbidden(err), err)
	_, err = client.For[*corev1.Pod](c.as(t, "", "forged")).List(t.Context())
	require.True(t, apierrors.IsUnauthorized(err), err)
}

func testPeople(t *testing.T, c *chain) {
	jane := c.as(t, "jane", "")
	pods := client.For[*corev1.Pod](jane)
	_, err := pods.List(t.Context())
	require.True(t, apierrors.IsForbidden(err), "all namespaces: %v", err)
	_, err = pods.Create(t.Context(), webPod("web"))
	require.True(t, apierrors.IsForbidden(err), "no service account yet: %v", err)
	for _, name := range []string{"default", "reader"} {
		_, err = client.For[*corev1.ServiceAccount](c.admin).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: named("team", name)})
		require.NoError(t, err)
	}
	pod, err := pods.Create(t.Context(), webPod("web"))
	require.NoError(t, err)
	require.Equal(t, serviceaccount.MountPath, pod.Spec.Containers[0].VolumeMounts[0].MountPath)
	require.Len(t, pod.Spec.Tolerations, 2)

	_, err = client.For[*corev1.ConfigMap](c.admin).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: named("missing", "x")})
	require.True(t, apierrors.IsNotFound(err), err)

	boss := client.For[*rbacv1.Role](c.as(t, "boss", ""))
	_, err = boss.Create(t.Context(), role("team", "all", on(l{"*"}, l{"*"}, l{"*"})))
	require.True(t, apierrors.IsForbidden(err), err)
	require.ErrorContains(t, err, "not currently held")
	_, err = boss.Create(t.Context(), role("team", "some", on(l{"get"}, l{""}, l{"pods"})))
	require.NoError(t, err)
	_, err = client.For[*rbacv1.Role](jane).Create(t.Context(), role("team", "more", on(l{"get"}, l{""}, l{"pods"})))
	require.True(t, apierrors.IsForbidden(err), err)
}

func tokenOf(t *testing.T, c *client.Client, name string, to *authenticationv1.BoundObjectReference) (string, error) {
	tokens := client.Sub[authenticationv1.TokenRequest](client.For[*corev1.ServiceAccount](c), "token")
	r, err := tokens.Create(t.Context(), "team", name, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: to}})
	if err != nil {
		return "", err
	}
	return r.Status.Token, nil
}

func testTokens(t *testing.T, c *chain) {
	token, err := tokenOf(t, c.admin, "reader", nil)
	require.NoError(t, err)
	pods := client.For[*corev1.Pod](c.as(t, "", token))
	_, err = pods.Get(t.Context(), "team", "web")
	require.True(t, apierrors.IsForbidden(err), err)
	require.ErrorContains(t, err, "system:serviceaccount:team:reader")
	c.grant(t, roleBinding("team", "reader", "ClusterRole", "view", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "team", Name: "reader"}))
	_, err = pods.Get(t.Context(), "team", "web")
	require.NoError(t, err)
	require.NoError(t, client.For[*corev1.ServiceAccount](c.admin).Delete(t.Context(), "team", "reader"))
	_, err = pods.Get(t.Context(), "team", "web")
	require.True(t, apierrors.IsUnauthorized(err), "the account is gone: %v", err)
}

func testNodes(t *testing.T, c *chain) {
	n1, n2 := c.as(t, "system:node:n1", "", rbac.NodesGroup), c.as(t, "system:node:n2", "", rbac.NodesGroup)
	nodes := client.For[*corev1.Node](n1)
	own, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: named("", "n1")})
	require.NoError(t, err)
	_, err = nodes.Create(t.Context(), &corev1.Node{ObjectMeta: named("", "n2")})
	require.True(t, apierrors.IsForbidden(err), err)
	own.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "y"}}
	_, err = nodes.Update(t.Context(), own)
	require.True(t, apierrors.IsForbidden(err), err)
	_, err = nodes.PatchStatus(t.Context(), "", "n1", types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`))
	require.NoError(t, err)
	_, err = nodes.PatchStatus(t.Context(), "", "n1", types.MergePatchType, []byte(`{"metadata":{"labels":{"node-restriction.kubernetes.io/x":"y"}}}`))
	if err == nil { // then the strategy has dropped it before admission looked
		got, err := nodes.Get(t.Context(), "", "n1")
		require.NoError(t, err)
		require.NotContains(t, got.Labels, "node-restriction.kubernetes.io/x")
	}
	lease := &coordinationv1.Lease{ObjectMeta: named("kube-node-lease", "n1")}
	_, err = client.For[*coordinationv1.Lease](n2).Create(t.Context(), lease)
	require.Error(t, err)

	bound := webPod("bound")
	bound.Spec.NodeName = "n1"
	pod, err := client.For[*corev1.Pod](c.admin).Create(t.Context(), bound)
	require.NoError(t, err)
	for _, name := range []string{"needed", "other"} {
		_, err = client.For[*corev1.Secret](c.admin).Create(t.Context(), &corev1.Secret{ObjectMeta: named("team", name)})
		require.NoError(t, err)
	}
	to := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "bound", UID: pod.UID}
	for _, who := range []struct {
		c  *client.Client
		ok bool
	}{{n1, true}, {n2, false}} {
		_, err = client.For[*corev1.Secret](who.c).Get(t.Context(), "team", "needed")
		require.Equal(t, who.ok, err == nil, err)
		_, err = client.For[*corev1.Secret](who.c).Get(t.Context(), "team", "other")
		require.True(t, apierrors.IsForbidden(err), err)
		_, err = client.For[*corev1.Pod](who.c).PatchStatus(t.Context(), "team", "bound", types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`))
		require.Equal(t, who.ok, err == nil, err)
		_, err = client.For[*corev1.Pod](who.c).List(t.Context(), client.Fields("spec.nodeName=n1"))
		require.Equal(t, who.ok, err == nil, err)
		token, err := tokenOf(t, who.c, "default", to)
		require.Equal(t, who.ok, err == nil, err)
		if err == nil {
			_, err = client.For[*corev1.Pod](c.as(t, "", token)).List(t.Context())
			require.True(t, apierrors.IsForbidden(err), "known, and not allowed: %v", err)
		}
	}
	_, err = tokenOf(t, n1, "default", nil)
	require.True(t, apierrors.IsForbidden(err), err)
}
