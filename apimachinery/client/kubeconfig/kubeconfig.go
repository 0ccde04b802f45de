// Package kubeconfig makes API clients from kubeconfig files, from the credentials inside a pod and from
// client-go's own configuration, with every way of authentication that client-go has. It is apart from package
// client so that those who don't need it don't link client-go.
package kubeconfig

import (
	"fmt"
	"net/url"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// Load connects as kubectl would: by the file at path; if that is empty, by the files in $KUBECONFIG or
// ~/.kube/config; if there are none, by the credentials inside a pod. contextName chooses a context; empty: the
// current one. The namespace is the context's, "default" if it has none.
func Load(path, contextName string) (conn *client.Conn, namespace string, err error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: contextName})
	cfg, err := loader.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("load the kubeconfig: %w", err)
	}
	if namespace, _, err = loader.Namespace(); err != nil {
		return nil, "", fmt.Errorf("load the kubeconfig: %w", err)
	}
	conn, err = New(cfg)
	return conn, namespace, err
}

// Client connects like [Load], under the current context, for the kinds that the caller speaks of: the packages below
// apimachinery/kinds have the built-in ones (core.Pods(), or apps.Resources() for a whole group), kinds.All has them
// all, and one's own are made by [apimachinery.Define]. Close the connection when the client is no longer in use.
func Client(path string, kinds ...apimachinery.Resource) (*client.Client, *client.Conn, error) {
	registry, err := apimachinery.NewRegistry(kinds...)
	if err != nil {
		return nil, nil, err
	}
	conn, _, err := Load(path, "")
	if err != nil {
		return nil, nil, err
	}
	return client.New(conn, registry), conn, nil
}

// Parse connects by the content of a kubeconfig file, under its current context.
func Parse(data []byte) (*client.Conn, error) {
	cfg, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		return nil, fmt.Errorf("parse the kubeconfig: %w", err)
	}
	return New(cfg)
}

// InCluster connects by the credentials inside a pod.
func InCluster() (*client.Conn, error) {
	cfg, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("connect from inside a pod: %w", err)
	}
	return New(cfg)
}

// New connects by client-go's configuration. Its rate limits (QPS, Burst) and content types don't apply.
func New(cfg *rest.Config) (*client.Conn, error) {
	server, err := serverOf(cfg)
	if err != nil {
		return nil, err
	}
	cfg = rest.CopyConfig(cfg)
	if cfg.UserAgent == "" {
		cfg.UserAgent = "bedplate"
	}
	t, err := rest.TransportFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", server, err)
	}
	return client.Over(t, server)
}

// serverOf completes the address as client-go does: a host without a scheme is https if it has credentials.
func serverOf(cfg *rest.Config) (string, error) {
	host := cfg.Host
	if !strings.Contains(host, "://") {
		scheme := "http://"
		tls := cfg.TLSClientConfig
		if tls.Insecure || tls.CAFile != "" || len(tls.CAData) > 0 || tls.CertFile != "" || len(tls.CertData) > 0 {
			scheme = "https://"
		}
		host = scheme + host
	}
	u, err := url.Parse(host)
	if err != nil {
		return "", fmt.Errorf("server of the kubeconfig: %w", err)
	}
	return u.String(), nil
}
