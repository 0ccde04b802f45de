package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/image"
)

// Network attaches sandboxes to a pod network. Every call may be repeated, may find its work done or undone, and
// may be the first after a crash.
type Network interface {
	// Attach gives the sandbox its addresses, IPv4 first, in the namespace pinned at netnsPath.
	Attach(ctx context.Context, pod *corev1.Pod, sandboxID, netnsPath string) ([]netip.Addr, error)
	// Detach takes them back. What is gone already is no error.
	Detach(ctx context.Context, sandboxID string) error
	// Keep frees what belongs to any other sandbox: the sweep after a crash.
	Keep(ctx context.Context, sandboxIDs []string) error
}

// Volumes make the volumes of a pod. The same holds as for [Network].
type Volumes interface {
	// Mount makes the pod's volumes and returns what to mount, by container.
	Mount(ctx context.Context, pod *corev1.Pod) (map[string][]specs.Mount, error)
	// Refresh brings configMaps, secrets, tokens and the downward API up to date, each volume atomically.
	Refresh(ctx context.Context, pod *corev1.Pod) error
	Unmount(ctx context.Context, podUID string) error
	Keep(ctx context.Context, podUIDs []string) error
}

// Config says what node an [Agent] runs. Client, Runtime, Images, NodeName and Dir are needed.
type Config struct {
	// NodeName is the node's name in the API.
	NodeName string
	// Client speaks to the API as system:node:<NodeName>.
	Client *client.Client
	// Runtime and Images run and hold what the pods need. The agent closes neither.
	Runtime *runtime.Runtime
	Images  *image.Store
	// Dir is a folder for logs and small files, absolute.
	Dir string
	// Network attaches pods that don't share the host's; nil: they have a loopback interface alone.
	Network Network
	// HostNetwork is the network namespace that is the host's, by its path: pods on the host's network, probes and
	// the node's API are there. Empty: this process's own. A second node on one machine has one.
	HostNetwork string
	// Volumes make volumes; nil: pods with volumes are refused.
	Volumes Volumes
	// Addresses are the node's own, the first its InternalIP. Empty: the first global address of the machine,
	// or 127.0.0.1 if there is none.
	Addresses []netip.Addr
	// Labels and Taints are given to the node when it registers.
	Labels map[string]string
	Taints []corev1.Taint
	// Capacity overrules what the machine has ("cpu", "memory", "pods": 110).
	Capacity corev1.ResourceList
	// DNS are the servers, and Domain the domain, of pods with the policy ClusterFirst. Empty: the machine's.
	DNS    []netip.Addr
	Domain string
	// Services lists the services of a namespace, shared and not to be changed, for the environment of containers; a
	// container whose services can't be listed is tried again later. nil: the environment has none.
	Services func(ctx context.Context, namespace string) ([]*corev1.Service, error)
	// Listen is where the node's API (logs, exec) is served; "" is ":0" on the first address. TLS is its
	// certificate; nil: no API. Clients must show a certificate that TLS.ClientCAs accepts, of one of Callers.
	Listen  string
	TLS     *tls.Config
	Callers []string
	// Heartbeat is the time between renewals of the lease (10 s), Report between unchanged node statuses (5 min),
	// Refresh between looks at configMaps and secrets that are mounted (1 min).
	Heartbeat, Report, Refresh time.Duration
	// Starts is how many pods are started at once, 16 by default; others wait their turn.
	Starts int
	// Log hears of what goes wrong; nil: off.
	Log *slog.Logger
	// Events is told what users should hear of a pod; nil: off. See reconcile/events.
	Events func(pod *corev1.Pod, kind, reason, message string)
}

func (c *Config) validate() error {
	switch {
	case c.Client == nil, c.Runtime == nil, c.Images == nil:
		return errors.New("Client, Runtime and Images must be set")
	case len(validation.IsDNS1123Subdomain(c.NodeName)) > 0:
		return fmt.Errorf("node name %q: %s", c.NodeName, validation.IsDNS1123Subdomain(c.NodeName)[0])
	case c.HostNetwork != "" && !filepath.IsAbs(c.HostNetwork):
		return fmt.Errorf("HostNetwork %q is no absolute path", c.HostNetwork)
	case c.HostNetwork != "" && len(c.Addresses) == 0:
		return errors.New("HostNetwork without Addresses: name those that the node has there")
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("folder %q is not absolute", c.Dir)
	case c.Heartbeat < 0, c.Report < 0, c.Refresh < 0, c.Starts < 0:
		return errors.New("Heartbeat, Report, Refresh and Starts may not be negative")
	case c.TLS != nil && len(c.Callers) == 0:
		return errors.New("TLS without Callers: name the users that may ask the node for logs and exec")
	case c.TLS != nil && c.TLS.ClientCAs == nil:
		return errors.New("TLS without ClientCAs: anybody with a certificate of a public authority could be a caller")
	}
	return nil
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&c.Heartbeat, 10*time.Second)
	set(&c.Report, 5*time.Minute)
	set(&c.Refresh, time.Minute)
	if c.Starts == 0 {
		c.Starts = 16
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Events == nil {
		c.Events = func(*corev1.Pod, string, string, string) {}
	}
	if len(c.Addresses) == 0 {
		c.Addresses = MachineAddresses()
	}
	return c
}
