package pki

import (
	"errors"
	"fmt"

	"sigs.k8s.io/yaml"
)

// KubeconfigSpec is what stands in a kubeconfig of one cluster and one user.
type KubeconfigSpec struct {
	// Name is that of cluster and context; default "bedplate".
	Name string
	// Server is the API's URL ("https://127.0.0.1:6443"). Required.
	Server string
	// CA is the PEM of the authority that the server's certificate is checked against.
	CA []byte
	// User names the entry of the credentials; default "admin".
	User string
	// Certificate and Key are the client's, in PEM; or Token is its bearer token.
	Certificate, Key []byte
	Token            string
	// Namespace is the one that clients work in; empty: default.
	Namespace string
}

func (s *KubeconfigSpec) validate() error {
	if s.Server == "" {
		return errors.New("kubeconfig: Server must be set")
	}
	if s.Name == "" {
		s.Name = "bedplate"
	}
	if s.User == "" {
		s.User = "admin"
	}
	return nil
}

// Kubeconfig returns a kubeconfig file in YAML. It holds secrets: write it with [WriteFile] and mode 0600.
func Kubeconfig(s KubeconfigSpec) ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	return yaml.Marshal(&kubeconfig{
		Kind: "Config", APIVersion: "v1", CurrentContext: s.Name,
		Clusters: []namedCluster{{s.Name, cluster{s.Server, s.CA}}},
		Users:    []namedUser{{s.User, credentials{s.Certificate, s.Key, s.Token}}},
		Contexts: []namedContext{{s.Name, clusterUser{s.Name, s.User, s.Namespace}}},
	})
}

// kubeconfig is as much of the file's format (v1 Config of client-go) as is written here.
type kubeconfig struct {
	Kind           string         `json:"kind"`
	APIVersion     string         `json:"apiVersion"`
	Clusters       []namedCluster `json:"clusters"`
	Users          []namedUser    `json:"users"`
	Contexts       []namedContext `json:"contexts"`
	CurrentContext string         `json:"current-context"`
}

type namedCluster struct {
	Name    string  `json:"name"`
	Cluster cluster `json:"cluster"`
}

type cluster struct {
	Server string `json:"server"`
	CA     []byte `json:"certificate-authority-data,omitempty"`
}

type namedUser struct {
	Name string      `json:"name"`
	User credentials `json:"user"`
}

type credentials struct {
	Certificate []byte `json:"client-certificate-data,omitempty"`
	Key         []byte `json:"client-key-data,omitempty"`
	Token       string `json:"token,omitempty"`
}

type namedContext struct {
	Name    string      `json:"name"`
	Context clusterUser `json:"context"`
}

type clusterUser struct {
	Cluster   string `json:"cluster"`
	User      string `json:"user"`
	Namespace string `json:"namespace,omitempty"`
}

// Kubeconfig issues a client certificate of a year and returns the kubeconfig that uses it against server.
func (a *Authority) Kubeconfig(server, user string, groups ...string) ([]byte, error) {
	certificate, key, err := a.Client(user, groups, 0)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of %s: %w", user, err)
	}
	return Kubeconfig(KubeconfigSpec{Server: server, CA: a.CertificatePEM(), User: user, Certificate: certificate, Key: key})
}
