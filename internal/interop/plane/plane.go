// Package plane starts control planes for the tests of the clients beside it.
package plane

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/bedplate/bedplate"
)

// Start starts a control plane for the length of a test, and returns it with the configuration of an administrator's
// client, which has no limit of its own.
func Start(t testing.TB, c bedplate.Config) (*bedplate.ControlPlane, *rest.Config) {
	t.Helper()
	p, err := bedplate.Start(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Stop()) })
	return p, User(t, p, "admin", "system:masters")
}

// User returns the configuration of a client that shows the certificate of a user.
func User(t testing.TB, p *bedplate.ControlPlane, name string, groups ...string) *rest.Config {
	t.Helper()
	kubeconfig, err := p.Kubeconfig(name, groups...)
	require.NoError(t, err)
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	require.NoError(t, err)
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	return config
}

// Protobuf returns the configuration of a client that speaks protobuf where it can, as Kubernetes' own components do.
func Protobuf(c *rest.Config) *rest.Config {
	c = rest.CopyConfig(c)
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	return c
}
