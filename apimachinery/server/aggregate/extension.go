package aggregate

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/bedplate/bedplate/apimachinery/callout"
	"github.com/bedplate/bedplate/storage"
)

// extension is a group and version that another server has.
type extension struct {
	a    *Aggregator
	name string // of the APIService
	gv   schema.GroupVersion
	spec apiregistrationv1.APIServiceSpec
	uid  string

	plain    *http.Transport
	upgrades *http.Transport // HTTP/1.1, each connection used once
	proxy    http.Handler
	broken   error // there are no transports

	ctx   context.Context
	stop  context.CancelFunc
	wake  chan struct{}
	state atomic.Pointer[state]
}

// state is what is known of an extension.
type state struct {
	trouble   *trouble // nil: it is available
	resources []apidiscovery.APIResourceDiscovery
	schemas   map[string]schemaAt // OpenAPI v3 documents by path
	etag      string              // of the index of schemas
}

// schemaAt is where a document is, and its hash.
type schemaAt struct{ url, hash string }

func (a *Aggregator) extension(ctx context.Context, s *apiregistrationv1.APIService) *extension {
	x := &extension{
		a: a, name: s.Name, uid: string(s.UID), spec: *s.Spec.DeepCopy(), wake: make(chan struct{}, 1),
		gv: schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version},
	}
	x.ctx, x.stop = context.WithCancel(ctx)
	cert := a.c.Certificate
	peer := callout.Peer{
		CABundle: s.Spec.CABundle, Insecure: s.Spec.InsecureSkipTLSVerify, Certificate: always(cert),
		ServerName: s.Spec.Service.Name + "." + s.Spec.Service.Namespace + ".svc",
	}
	if x.plain, x.broken = peer.Transport(a.c.Dial); x.broken == nil {
		x.upgrades = x.plain.Clone()
		x.upgrades.ForceAttemptHTTP2, x.upgrades.DisableKeepAlives = false, true
		x.upgrades.TLSClientConfig.NextProtos = []string{"http/1.1"}
		x.plain.DisableCompression, x.upgrades.DisableCompression = true, true
		x.proxy = x.newProxy()
	}
	return x
}

// serves says whether nothing has changed that matters here.
func (x *extension) serves(s *apiregistrationv1.APIService) bool {
	return x.uid == string(s.UID) && reflect.DeepEqual(x.spec, s.Spec)
}

func (x *extension) port() int32 {
	if x.spec.Service.Port != nil {
		return *x.spec.Service.Port
	}
	return 443
}

const (
	// checkEvery is how often a server is asked that answers, and the longest that one waits that doesn't.
	checkEvery = 30 * time.Second
	// firstRetry is doubled with every failure.
	firstRetry = 500 * time.Millisecond
)

// run keeps an extension's state until it is stopped.
func (x *extension) run() {
	defer x.close()
	watches := make(chan struct{})
	go func() { defer close(watches); x.watch() }()
	defer func() { <-watches }()
	retry := firstRetry
	for x.ctx.Err() == nil {
		now := x.check()
		if x.ctx.Err() != nil {
			return
		}
		x.become(now)
		if err := x.report(now.trouble); err != nil && x.ctx.Err() == nil {
			x.a.c.Log.Warn("condition of an APIService not written", "name", x.name, "err", err)
			now.trouble = or(now.trouble, &trouble{})
		}
		if now.trouble == nil {
			retry = firstRetry
			wait(x.ctx, x.wake, checkEvery)
			continue
		}
		wait(x.ctx, x.wake, retry)
		retry = min(2*retry, checkEvery)
	}
}

func or[T any](p, d *T) *T {
	if p != nil {
		return p
	}
	return d
}

func (x *extension) close() {
	if x.broken == nil {
		x.plain.CloseIdleConnections()
		x.upgrades.CloseIdleConnections()
	}
}

// become makes a state known.
func (x *extension) become(now *state) {
	was := x.state.Swap(now)
	if was == nil || (was.trouble == nil) != (now.trouble == nil) || was.etag != now.etag || !reflect.DeepEqual(was.resources, now.resources) {
		x.a.generation.Add(1)
	}
}

// poke has the extension checked soon.
func (x *extension) poke() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// watch pokes whenever the Service or one of its endpoints changes.
func (x *extension) watch() {
	s := x.spec.Service
	done := make(chan struct{})
	go func() {
		defer close(done)
		x.watchOne(corev1.Resource("services"), storage.Filter{Key: s.Namespace + "/" + s.Name})
	}()
	x.watchOne(discoveryv1.Resource("endpointslices"), storage.Filter{
		Prefix: s.Namespace + "/", LabelIs: []storage.Pair{{Key: discoveryv1.LabelServiceName, Value: s.Name}},
	})
	<-done
}

func (x *extension) watchOne(gr schema.GroupResource, of storage.Filter) {
	for x.ctx.Err() == nil {
		t, ok := x.a.server.Table(gr)
		if !ok {
			return
		}
		w, err := t.Watch(0, of)
		for err == nil {
			if _, err = w.Next(x.ctx); err == nil {
				x.poke()
			}
		}
		if w != nil {
			w.Close()
		}
		if x.ctx.Err() == nil {
			x.poke()
			wait(x.ctx, nil, retryAfter)
		}
	}
}

// Extension is what is known of a group and version that another server has.
type Extension struct {
	schema.GroupVersion
	// GroupPriority and VersionPriority are those of the APIService.
	GroupPriority, VersionPriority int
	// Resources are what the other server said when it was last asked; nil: it never answered.
	Resources []apidiscovery.APIResourceDiscovery
	// Err says why it can't be asked now.
	Err error
}

// Extensions are the groups and versions that other servers have, by group and version. The generation is another one
// whenever they are others, or in another state. What is returned must not be changed.
func (a *Aggregator) Extensions() (list []Extension, generation uint64) {
	generation = a.generation.Load() // before the list: one that is newer than its number is asked for again
	for gv, x := range *a.others.Load() {
		e := Extension{GroupVersion: gv, GroupPriority: int(x.spec.GroupPriorityMinimum), VersionPriority: int(x.spec.VersionPriority)}
		now := x.state.Load()
		if now != nil {
			e.Resources = now.resources
		}
		e.Err = now.err()
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Extension) int { return strings.Compare(a.String(), b.String()) })
	return list, generation
}

// err is why requests can't go on; nil: they can.
func (s *state) err() error {
	switch {
	case s == nil:
		return fmt.Errorf("it has not been asked yet")
	case s.trouble != nil:
		return s.trouble
	}
	return nil
}

// always shows one certificate to whoever asks for one.
func always(c *tls.Certificate) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
}
