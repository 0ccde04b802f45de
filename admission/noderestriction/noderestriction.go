package noderestriction

import (
	"context"
	"errors"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
)

// Name is the plugin's.
const Name = "NodeRestriction"

// Lookup finds what a node's write is compared with; an apierrors NotFound if there is no such object. The
// results are only read.
type Lookup interface {
	Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	Node(ctx context.Context, name string) (*corev1.Node, error)
}

// Config is what the plugin needs. Both fields are required.
type Config struct {
	// NodeOf returns the node that a user is, empty if none (rbac/node.NameOf).
	NodeOf func(*apimachinery.User) string
	// Lookup finds pods and nodes.
	Lookup Lookup
}

func (c *Config) validate() error {
	if c.NodeOf == nil || c.Lookup == nil {
		return errors.New("node restriction: NodeOf and Lookup must be set")
	}
	return nil
}

// New returns the plugin. Whoever is no node is none of its business.
func New(c Config) (apimachinery.Plugin, error) {
	if err := c.validate(); err != nil {
		return apimachinery.Plugin{}, err
	}
	return apimachinery.Plugin{Name: Name, Validate: &plugin{c}}, nil
}

type plugin struct{ Config }

// write is what a node wants to do.
type write struct {
	*apimachinery.Admission
	node   string
	lookup Lookup
}

// Validate implements [apimachinery.Validator].
func (p *plugin) Validate(ctx context.Context, a *apimachinery.Admission) error {
	name := p.NodeOf(&a.User)
	if name == "" {
		return nil
	}
	w := &write{a, name, p.Lookup}
	err := w.judge(ctx)
	var status apierrors.APIStatus
	if err == nil || errors.As(err, &status) {
		return err
	}
	return apierrors.NewForbidden(a.Resource.GroupResource(), a.Name, err)
}

func (w *write) judge(ctx context.Context) error {
	what := w.Resource.Resource
	if w.Sub != "" {
		what += "/" + w.Sub
	}
	switch w.Resource.Group + "/" + what {
	case "/pods":
		return w.pod(ctx)
	case "/pods/status":
		return w.podStatus()
	case "/pods/eviction":
		return w.eviction(ctx)
	case "/nodes", "/nodes/status":
		return w.ownNode()
	case "/serviceaccounts/token":
		return w.token(ctx)
	case "/events", "events.k8s.io/events":
		return nil
	case coordinationv1.GroupName + "/leases":
		if w.Namespace != corev1.NamespaceNodeLease {
			return fmt.Errorf("node %q may only write leases in the namespace %s", w.node, corev1.NamespaceNodeLease)
		}
		return w.ownName()
	case storagev1.GroupName + "/csinodes":
		return w.ownName()
	}
	switch w.Resource.Group {
	case "authentication.k8s.io", "authorization.k8s.io", "certificates.k8s.io":
		return nil // reviews and requests: they change nothing
	}
	return fmt.Errorf("node %q may not %s %s", w.node, w.Operation, what)
}

func (w *write) ownName() error {
	if w.Name != w.node {
		return fmt.Errorf("node %q may only write the %s of its own name", w.node, w.Resource.Resource)
	}
	return nil
}

// token allows tokens that die with a pod of this node and are for audiences that the pod mounts.
func (w *write) token(ctx context.Context) error {
	r, ok := w.Object.(*authenticationv1.TokenRequest)
	if !ok {
		return fmt.Errorf("node %q may only create TokenRequests", w.node)
	}
	to := r.Spec.BoundObjectRef
	if to == nil || to.APIVersion != "v1" || to.Kind != "Pod" || to.Name == "" {
		return errors.New("node requested token not bound to a pod")
	}
	if to.UID == "" {
		return errors.New("node requested token with a pod binding without a uid")
	}
	pod, err := w.lookup.Pod(ctx, w.Namespace, to.Name)
	if err != nil {
		return err
	}
	switch {
	case pod.UID != to.UID:
		return fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", to.UID, pod.UID)
	case pod.Spec.NodeName != w.node:
		return errors.New("node requested token bound to a pod scheduled on a different node")
	case pod.Spec.ServiceAccountName != w.Name:
		return fmt.Errorf("node requested a token of service account %q for a pod of another", w.Name)
	}
	return audiences(pod, r.Spec.Audiences)
}

func audiences(pod *corev1.Pod, asked []string) error {
	mounted := map[string]bool{"": true} // the server's own
	for i := range pod.Spec.Volumes {
		p := pod.Spec.Volumes[i].Projected
		if p == nil {
			continue
		}
		for _, s := range p.Sources {
			if s.ServiceAccountToken != nil {
				mounted[s.ServiceAccountToken.Audience] = true
			}
		}
	}
	if len(asked) > 1 {
		return errors.New("node may only request 0 or 1 audiences")
	}
	for _, a := range asked {
		if !mounted[a] {
			return fmt.Errorf("audience %q not found in pod spec volume", a)
		}
	}
	return nil
}
