package bedplate

import (
	"crypto/tls"
	"net/netip"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/rbac"
	"github.com/bedplate/bedplate/rbac/node"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// NodeAccess is what a node in this process needs of its control plane: see runtime/node.Config.
type NodeAccess struct {
	// Client acts as the node.
	Client *client.Client
	// TLS is the certificate of the node's own API, and Callers are who may use that.
	TLS     *tls.Config
	Callers []string
	// Network reads what the node's part of the pod network needs to know, and Tables has it at hand.
	Network *client.Client
	Tables  informer.Tables
}

// Node returns the access of a node with this name and these addresses. A node elsewhere gets a kubeconfig instead:
// Kubeconfig("system:node:<name>", "system:nodes").
func (p *ControlPlane) Node(name string, addresses ...netip.Addr) (NodeAccess, error) {
	hosts := []string{name}
	for _, a := range addresses {
		hosts = append(hosts, a.String())
	}
	cert, err := p.ca.Other(node.User(name), hosts...)
	if err != nil {
		return NodeAccess{}, err
	}
	user := apimachinery.User{Name: node.User(name), Groups: []string{rbac.NodesGroup, rbac.AuthenticatedGroup}}
	return NodeAccess{
		Client:  client.New(p.As(user), p.registry).WithFieldManager("kubelet"),
		TLS:     &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cert}, ClientCAs: p.ca.Pool()},
		Callers: []string{apiServerUser},
		Network: p.actor(rbac.ProxyUser), Tables: p.server,
	}, nil
}
