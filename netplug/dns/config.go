package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// Config is what a [Server] is made of. At least one socket must be given, and Client or all informers.
type Config struct {
	IndexConfig

	// Packets and Listeners are the sockets to serve on, UDP and TCP. They may have been opened in another network
	// namespace. Run closes them when it ends; if New returns an error they are the caller's still.
	Packets   []net.PacketConn
	Listeners []net.Listener

	// Client reads the API, where an informer isn't handed in. Its registry must know core/v1 Service and Pod and
	// discovery.k8s.io/v1 EndpointSlice.
	Client *client.Client
	// Services, Slices, Pods and Namespaces are kept current by whoever runs them. nil: the server has one of its
	// own, which lists and watches over Client. Pods is used with PodsVerified alone.
	Services   *informer.Informer[*corev1.Service]
	Slices     *informer.Informer[*discoveryv1.EndpointSlice]
	Pods       *informer.Informer[*corev1.Pod]
	Namespaces *informer.Informer[*metav1.PartialObjectMetadata]

	// Upstreams are asked for all names that aren't the cluster's, in this order; one that fails is left out for a
	// while. nil: those of [HostUpstreams]. Empty but not nil: none, and such names are REFUSED. Those that are
	// sockets of this server are left out, and so are those that are found to send queries back to it, for as
	// long as they do.
	Upstreams []netip.AddrPort
	// Dial opens a connection to an upstream, network being "udp" or "tcp". nil: in the network namespace of the
	// process.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Timeout is how long one upstream may take to answer; two and a half times that is allowed for all of them.
	// Default 2 s.
	Timeout time.Duration
	// Forwards is how many queries may be at upstreams at once; what exceeds it is answered SERVFAIL. Default 512.
	Forwards int
	// CacheEntries is how many answers of upstreams are remembered, each of at most 4 KiB; the one used least
	// recently goes first. Default 4,096; negative: none.
	CacheEntries int
	// CacheTTL is how long an answer is remembered at most, whatever its own TTL. Default 30 s.
	CacheTTL time.Duration

	// UDPSize is the largest answer over UDP, however large a client says that its buffer is; what is larger comes
	// truncated, so that the client asks again over TCP. Default 1,232: what no network has to fragment.
	UDPSize int
	// Conns is how many TCP connections may be open on each listener; more are closed at once. Default 256.
	Conns int
	// Log takes one line for each fault. nil: off.
	Log *slog.Logger
}

func (c *Config) validate() error {
	if err := c.IndexConfig.validate(); err != nil {
		return err
	}
	own := c.Services == nil || c.Slices == nil || c.Namespaces == nil || c.IndexConfig.Pods == PodsVerified && c.Pods == nil
	switch {
	case len(c.Packets)+len(c.Listeners) == 0:
		return errors.New("Packets and Listeners are empty: there is nothing to serve on")
	case c.Client == nil && own:
		return errors.New("Client must be set, or Services, Slices, Pods and Namespaces")
	case c.Timeout < 0 || c.Forwards < 0 || c.CacheTTL < 0 || c.UDPSize < 0 || c.Conns < 0:
		return errors.New("Timeout, Forwards, CacheTTL, UDPSize and Conns must not be negative")
	case c.UDPSize != 0 && (c.UDPSize < 512 || c.UDPSize > 65535):
		return errors.New("UDPSize must be between 512 and 65,535")
	}
	for _, u := range c.Upstreams {
		if !u.IsValid() || u.Port() == 0 {
			return fmt.Errorf("upstream %q has no address and port", u)
		}
	}
	return nil
}

func (c *Config) setDefaults() {
	set(&c.Timeout, 2*time.Second)
	set(&c.CacheTTL, 30*time.Second)
	set(&c.Forwards, 512)
	set(&c.CacheEntries, 4096)
	set(&c.UDPSize, 1232)
	set(&c.Conns, 256)
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func set[T comparable](v *T, to T) {
	if *v == *new(T) {
		*v = to
	}
}
