package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	miekg "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// Server answers the DNS queries of a cluster's pods. Until it knows the cluster it answers SERVFAIL to everything,
// so that clients ask again or elsewhere, and never that a name doesn't exist.
type Server struct {
	c       Config
	index   *Index
	forward *forwarder
	own     []func(context.Context) error // informers that nobody else runs
	ready   chan struct{}
	known   atomic.Bool
	began   atomic.Bool
	life    context.Context // of queries; set by Run before it serves
}

// New returns a server that does nothing until Run. The sockets are its own from then on.
func New(c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure the DNS server: %w", err)
	}
	c.setDefaults()
	index, err := NewIndex(c.IndexConfig)
	if err != nil {
		return nil, err
	}
	s := &Server{c: c, index: index, ready: make(chan struct{})}
	if s.forward, err = s.forwarder(); err != nil {
		return nil, fmt.Errorf("configure the DNS server: %w", err)
	}
	if err := s.informers(); err != nil {
		return nil, fmt.Errorf("configure the DNS server: %w", err)
	}
	return s, nil
}

// Index is what the server answers from. It is kept current by Run.
func (s *Server) Index() *Index { return s.index }

// Ready is closed once the server knows the cluster, and answers.
func (s *Server) Ready() <-chan struct{} { return s.ready }

func (s *Server) forwarder() (*forwarder, error) {
	f := &forwarder{
		cache: newCache(s.c.CacheEntries, s.c.CacheTTL), slots: make(chan struct{}, s.c.Forwards), timeout: s.c.Timeout,
		probed: make(chan struct{}), suspect: make(chan struct{}, 1),
	}
	addrs := s.c.Upstreams
	if addrs == nil {
		var err error
		if addrs, err = HostUpstreams(); err != nil {
			return nil, err
		}
	}
	for _, a := range addrs {
		if own(a, s.addrs()) {
			s.c.Log.Error("leave out an upstream that is this server", "upstream", a)
			continue
		}
		f.upstreams = append(f.upstreams, &upstream{addr: netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), token: probeToken(), dial: s.c.Dial})
	}
	return f, nil
}

func (s *Server) addrs() (out []net.Addr) {
	for _, p := range s.c.Packets {
		out = append(out, p.LocalAddr())
	}
	for _, l := range s.c.Listeners {
		out = append(out, l.Addr())
	}
	return out
}

// informers makes those that weren't handed in. They keep no more than the index needs.
func (s *Server) informers() error {
	if err := openOwn(s, &s.c.Services, func(o *corev1.Service) { o.Status, o.ManagedFields, o.Annotations = corev1.ServiceStatus{}, nil, nil }); err != nil {
		return err
	}
	if err := openOwn(s, &s.c.Slices, func(o *discoveryv1.EndpointSlice) { o.ManagedFields, o.Annotations = nil, nil }); err != nil {
		return err
	}
	if s.c.IndexConfig.Pods != PodsVerified {
		s.c.Pods = nil
	} else if err := openOwn(s, &s.c.Pods, stripPod); err != nil {
		return err
	}
	if s.c.Namespaces != nil {
		return nil
	}
	door := client.Metadata(s.c.Client, corev1.SchemeGroupVersion.WithResource("namespaces"), false)
	i, err := informer.New(door, informer.Config[*metav1.PartialObjectMetadata]{Log: s.c.Log})
	if err == nil {
		s.c.Namespaces, s.own = i, append(s.own, i.Run)
	}
	return err
}

// stripPod leaves a pod its name, addresses and phase.
func stripPod(p *corev1.Pod) {
	p.ObjectMeta = metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion}
	p.Spec = corev1.PodSpec{}
	p.Status = corev1.PodStatus{Phase: p.Status.Phase, PodIPs: p.Status.PodIPs}
}

func openOwn[T apimachinery.Object](s *Server, i **informer.Informer[T], strip func(T)) error {
	if *i != nil {
		return nil
	}
	r := client.For[T](s.c.Client)
	if err := r.Err(); err != nil {
		return err
	}
	made, err := informer.New(r, informer.Config[T]{Log: s.c.Log, Transform: strip})
	if err == nil {
		*i, s.own = made, append(s.own, made.Run)
	}
	return err
}

// Run serves until ctx ends, and returns when everything that it started has ended and the sockets are closed. A
// socket that fails ends it with an error. A second Run is an error.
func (s *Server) Run(ctx context.Context) error {
	if s.began.Swap(true) {
		return errors.New("run the DNS server: it runs already, or has run")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.life = ctx
	var started sync.WaitGroup
	parts := append([]func(context.Context) error{s.follow}, s.own...)
	for _, p := range s.c.Packets {
		parts = append(parts, s.serving(&miekg.Server{PacketConn: p, UDPSize: upstreamSize}, &started))
	}
	for _, l := range s.c.Listeners {
		parts = append(parts, s.serving(&miekg.Server{Listener: limit(l, s.c.Conns)}, &started))
	}
	parts = append(parts, func(ctx context.Context) error {
		started.Wait()
		s.forward.watch(ctx, s.c.Log)
		return nil
	})
	ended := make(chan error, len(parts))
	for _, run := range parts {
		go func() { ended <- run(ctx) }()
	}
	var errs []error
	for range parts {
		errs = append(errs, <-ended)
		cancel() // one that ends, ends all
	}
	return errors.Join(errs...)
}

// drain is how long queries that are under way at the end may take.
const drain = 2 * time.Second

// serving serves one socket until ctx ends.
func (s *Server) serving(m *miekg.Server, started *sync.WaitGroup) func(context.Context) error {
	started.Add(1)
	begun := make(chan struct{})
	begin := sync.OnceFunc(func() {
		close(begun)
		started.Done()
	})
	m.Handler, m.NotifyStartedFunc, m.MaxTCPQueries = s, begin, -1
	return func(ctx context.Context) error {
		ended := make(chan error, 1)
		go func() {
			ended <- m.ActivateAndServe()
			begin() // if it never came to serve
		}()
		<-begun
		select {
		case err := <-ended:
			return fmt.Errorf("serve DNS: %w", err)
		case <-ctx.Done():
		}
		life, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		err := m.ShutdownContext(life)
		if endErr := <-ended; err == nil {
			err = endErr
		}
		if err != nil {
			return fmt.Errorf("close a socket of DNS: %w", err)
		}
		return nil
	}
}

// follow keeps the index current.
func (s *Server) follow(ctx context.Context) error {
	x := s.index
	defer handle(s.c.Namespaces, func(o *metav1.PartialObjectMetadata) { x.SetNamespace(o.Name) },
		func(o *metav1.PartialObjectMetadata) { x.DeleteNamespace(o.Name) })()
	defer handle(s.c.Services, x.SetService, func(o *corev1.Service) { x.DeleteService(o.Namespace, o.Name) })()
	defer handle(s.c.Slices, x.SetSlice, func(o *discoveryv1.EndpointSlice) { x.DeleteSlice(o.Namespace, o.Name) })()
	synced := []<-chan struct{}{s.c.Namespaces.Synced(), s.c.Services.Synced(), s.c.Slices.Synced()}
	if s.c.Pods != nil {
		defer handle(s.c.Pods, x.SetPod, func(o *corev1.Pod) { x.DeletePod(o.Namespace, o.Name) })()
		synced = append(synced, s.c.Pods.Synced())
	}
	for _, c := range synced {
		select {
		case <-c:
		case <-ctx.Done():
			return nil
		}
	}
	s.known.Store(true)
	close(s.ready)
	<-ctx.Done()
	return nil
}

func handle[T apimachinery.Object](i *informer.Informer[T], set, gone func(T)) (stop func()) {
	return i.Handle(informer.Handler[T]{Change: func(c informer.Change[T]) {
		if c.Deleted {
			gone(c.Old)
		} else {
			set(c.New)
		}
	}})
}
