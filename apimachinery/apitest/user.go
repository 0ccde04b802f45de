package apitest

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
	"github.com/bedplate/bedplate/rbac"
)

// User is somebody who speaks to an API. Its methods may be called concurrently.
type User struct {
	api       *API
	name      string
	groups    []string
	cert, key []byte
}

// As returns a user of some groups, with a certificate of its own. With Config.RBAC it may do what its groups may, and
// what [User.Allow] and roles add.
func (a *API) As(user string, groups ...string) (*User, error) {
	cert, key, err := a.ca.Client(user, groups, 0)
	if err != nil {
		return nil, fmt.Errorf("make user %s: %w", user, err)
	}
	return &User{api: a, name: user, groups: groups, cert: cert, key: key}, nil
}

// Name is the user's, as roles name it.
func (u *User) Name() string { return u.name }

// Client is a typed client in this process: see [client.For].
func (u *User) Client() *client.Client {
	who := apimachinery.User{Name: u.name, Groups: append([]string{rbac.AuthenticatedGroup}, u.groups...)}
	return client.New(u.api.server.As(who), u.api.registry)
}

// RESTConfig is how client-go and controller-runtime reach the API over HTTPS as this user. It is the caller's.
func (u *User) RESTConfig() *rest.Config {
	return &rest.Config{
		Host: u.api.URL(), QPS: -1, // nobody else is slowed down
		TLSClientConfig: rest.TLSClientConfig{CAData: u.api.CA(), CertData: u.cert, KeyData: u.key},
	}
}

// Kubeconfig is the content of the user's kubeconfig file.
func (u *User) Kubeconfig() ([]byte, error) {
	return pki.Kubeconfig(pki.KubeconfigSpec{
		Name: "apitest", Server: u.api.URL(), CA: u.api.CA(), User: u.name, Certificate: u.cert, Key: u.key,
	})
}

// WriteKubeconfig writes the user's kubeconfig to a file that its owner alone may read.
func (u *User) WriteKubeconfig(file string) error {
	k, err := u.Kubeconfig()
	if err != nil {
		return err
	}
	return pki.WriteFile(file, k, 0o600)
}

// Allow makes a role of rules and binds the user to it, in a namespace or, where that is empty, in all and for what
// is in none. It returns when that is heeded. Without Config.RBAC it makes them, too, and nothing depends on them.
func (u *User) Allow(ctx context.Context, namespace string, rules ...rbacv1.PolicyRule) error {
	c := u.api.Client()
	meta := metav1.ObjectMeta{Namespace: namespace, GenerateName: "apitest-"}
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: u.name}}
	rev, err := "", error(nil)
	if namespace == "" {
		rev, err = grant(ctx, c, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, func(name string) *rbacv1.ClusterRoleBinding {
			return &rbacv1.ClusterRoleBinding{
				ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			}
		})
	} else {
		rev, err = grant(ctx, c, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, func(name string) *rbacv1.RoleBinding {
			return &rbacv1.RoleBinding{
				ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
			}
		})
	}
	if err == nil {
		err = u.api.roles.wait(ctx, rev)
	}
	if err != nil {
		return fmt.Errorf("allow %s: %w", u.name, err)
	}
	return nil
}

// grant makes a role and a binding to it, and returns the revision of the latter.
func grant[R, B apimachinery.Object](ctx context.Context, c *client.Client, role R, binding func(name string) B) (rev string, err error) {
	role, err = client.For[R](c).Create(ctx, role)
	if err != nil {
		return "", err
	}
	b, err := client.For[B](c).Create(ctx, binding(role.GetName()))
	if err != nil {
		return "", err
	}
	return b.GetResourceVersion(), nil
}

// Login is [API.As] for a test, which fails if that can't be.
func (a *API) Login(t TB, user string, groups ...string) *User {
	t.Helper()
	u, err := a.As(user, groups...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return u
}
