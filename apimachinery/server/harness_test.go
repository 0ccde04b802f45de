package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// databaseSpec and databaseStatus make a kind that exercises what resources can declare.
type databaseSpec struct {
	Engine   string                 `json:"engine,omitempty"`
	Replicas *int32                 `json:"replicas,omitempty"`
	Host     string                 `json:"host,omitempty"`
	Options  map[string]string      `json:"options,omitempty"`
	Ports    []corev1.ContainerPort `json:"ports,omitempty" patchStrategy:"merge" patchMergeKey:"containerPort"`
}

type databaseStatus struct {
	Ready bool   `json:"ready,omitempty"`
	Note  string `json:"note,omitempty"`
}

func (s *databaseSpec) Default() {
	if s.Replicas == nil {
		one := int32(1)
		s.Replicas = &one
	}
}

func (s *databaseSpec) Validate(p *field.Path) field.ErrorList {
	if s.Engine == "" {
		return field.ErrorList{field.Required(p.Child("engine"), "name the engine")}
	}
	return nil
}

func (s *databaseSpec) ValidateUpdate(old *databaseSpec, p *field.Path) field.ErrorList {
	if s.Engine != old.Engine {
		return field.ErrorList{field.Invalid(p.Child("engine"), s.Engine, "field is immutable")}
	}
	return nil
}

type database = apimachinery.Typed[databaseSpec, databaseStatus]

// placement is what binds a database to a host.
type placement = apimachinery.Typed[placementSpec, struct{}]
type placementSpec struct {
	Host string `json:"host"`
}

// size is the scale of a database.
type size = apimachinery.Typed[sizeSpec, struct{}]
type sizeSpec struct {
	Replicas int32 `json:"replicas"`
}

var (
	configMaps = corev1.SchemeGroupVersion.WithResource("configmaps")
	namespaces = corev1.SchemeGroupVersion.WithResource("namespaces")
	databases  = schema.GroupVersionResource{Group: "db.example.com", Version: "v1", Resource: "databases"}
	leases     = schema.GroupVersionResource{Group: "db.example.com", Version: "v1", Resource: "leases"}
)

type lease = apimachinery.Typed[leaseSpec, struct{}]
type leaseSpec struct {
	Holder string `json:"holder,omitempty"`
}

func resources() []apimachinery.Resource {
	db := apimachinery.Define[databaseSpec, databaseStatus](databases.GroupVersion().WithKind("Database"), "databases")
	db.Views[0].Fields = []apimachinery.Field{{Name: "spec.host"}, {Name: "spec.engine", Default: "none"}}
	db.Grace = func(o apimachinery.Object, asked *int64) int64 {
		d := o.(*database)
		switch {
		case d.Spec.Host == "":
			return 0
		case asked != nil:
			return *asked
		}
		return 30
	}
	db.Guards = func(new, old apimachinery.Object) []string {
		n, _ := new.(*database)
		o, _ := old.(*database)
		if n == nil || n.Spec.Host == "" || o != nil && o.Spec.Host == n.Spec.Host {
			return nil
		}
		return []string{"allocations/" + n.Spec.Host}
	}
	db.Warnings = func(new, _ apimachinery.Object) []string {
		if new.(*database).Spec.Engine == "old" {
			return []string{"spec.engine: old is deprecated"}
		}
		return nil
	}
	db.Subs["placement"] = apimachinery.Subresource{
		Kind: databases.GroupVersion().WithKind("Placement"), New: func() apimachinery.Object { return &placement{} },
		Verbs: []string{"create"},
		Mutate: func(_ context.Context, o, in apimachinery.Object) error {
			o.(*database).Spec.Host = in.(*placement).Spec.Host
			return nil
		},
	}
	db.Subs["scale"] = apimachinery.Subresource{
		Kind: databases.GroupVersion().WithKind("Size"), New: func() apimachinery.Object { return &size{} },
		Verbs: []string{"get", "update", "patch"},
		Owns:  map[string]string{"spec.replicas": "spec.replicas"},
		Get: func(o apimachinery.Object) (apimachinery.Object, error) {
			s := &size{ObjectMeta: metav1.ObjectMeta{Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()}}
			s.Spec.Replicas = *o.(*database).Spec.Replicas
			return s, nil
		},
		Mutate: func(_ context.Context, o, in apimachinery.Object) error {
			n := in.(*size).Spec.Replicas
			o.(*database).Spec.Replicas = &n
			return nil
		},
	}
	db.Subs["echo"] = apimachinery.Subresource{
		Kind: databases.GroupVersion().WithKind("Size"), New: func() apimachinery.Object { return &size{} },
		Verbs: []string{"create"},
		Do: func(_ context.Context, r *apimachinery.Request, o, in apimachinery.Object) (apimachinery.Object, error) {
			in.SetLabels(map[string]string{"user": r.User.Name})
			return in, nil
		},
	}
	db.Subs["log"] = apimachinery.Subresource{Verbs: []string{"get"}, Connect: "databases/log"}
	l := apimachinery.Define[leaseSpec, struct{}](leases.GroupVersion().WithKind("Lease"), "leases")
	l.Guards = func(new, old apimachinery.Object) []string {
		n, _ := new.(*lease)
		o, _ := old.(*lease)
		if n != nil && (o == nil || o.Spec.Holder != n.Spec.Holder) {
			return []string{"fences/" + n.Namespace + "/" + n.Name}
		}
		return nil
	}
	l.Upsert = true
	return []apimachinery.Resource{configMapResource(), namespaceResource(), db, l}
}

func configMapResource() apimachinery.Resource {
	return apimachinery.Resource{
		Name: configMaps.GroupResource(), Namespaced: true,
		New:   func() apimachinery.Object { return &corev1.ConfigMap{} },
		Views: []apimachinery.View{{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ConfigMap"), Plural: "configmaps", Short: []string{"cm"}}},
	}
}

func namespaceResource() apimachinery.Resource {
	return apimachinery.Resource{
		Name:  namespaces.GroupResource(),
		New:   func() apimachinery.Object { return &corev1.Namespace{} },
		Views: []apimachinery.View{{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Namespace"), Plural: "namespaces"}},
	}
}

// world is a server with what it stands on.
type world struct {
	t      testing.TB
	s      *server.Server
	db     *storage.DB
	r      *apimachinery.Registry
	url    string
	http   *http.Client
	conn   apimachinery.Doer
	byUser func(name string) apimachinery.Doer
}

// start runs a server; change may adjust its configuration.
func start(t testing.TB, change func(*server.Config)) *world {
	t.Helper()
	b, err := memory.New(memory.Config{History: 1000})
	require.NoError(t, err)
	return startOver(t, b, change)
}

func startOver(t testing.TB, b storage.Backend, change func(*server.Config)) *world {
	t.Helper()
	db, err := storage.New(b, storage.Config{Window: 1000, Wait: 500 * time.Millisecond})
	require.NoError(t, err)
	r, err := apimachinery.NewRegistry(resources()...)
	require.NoError(t, err)
	ca, err := pki.Open(pki.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	tlsConfig, err := ca.ServerTLS("localhost", "127.0.0.1")
	require.NoError(t, err)
	c := server.Config{Registry: r, DB: db, TLS: tlsConfig, Authenticator: byHeader{}}
	if change != nil {
		change(&c)
	}
	s, err := server.New(c)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	dbCtx, dbCancel := context.WithCancel(context.Background())
	wg.Go(func() { _ = db.Run(dbCtx) })
	served := make(chan error, 1)
	go func() { served <- s.Run(ctx) }()
	<-s.Ready()
	w := &world{t: t, s: s, db: db, r: c.Registry, url: "https://" + s.Addr().String()}
	conn, err := client.HTTPS(client.Config{Server: w.url, CA: ca.CertificatePEM(), Retries: -1, UserAgent: "tester/1.0"})
	require.NoError(t, err)
	w.conn = conn
	w.http = &http.Client{Transport: &http.Transport{TLSClientConfig: tlsFor(ca), ForceAttemptHTTP2: true}}
	t.Cleanup(func() {
		conn.Close()
		w.http.CloseIdleConnections()
		cancel()
		require.NoError(t, <-served)
		dbCancel()
		wg.Wait()
	})
	return w
}

// byHeader takes the user's name from a header: authentication is not what is tested.
type byHeader struct{}

func (byHeader) Authenticate(r *http.Request) (apimachinery.User, bool, error) {
	switch name := r.Header.Get("Test-User"); name {
	case "":
		return apimachinery.User{Name: "tester"}, true, nil
	case "anonymous":
		return apimachinery.User{}, false, nil
	case "bad":
		return apimachinery.User{}, false, io.ErrUnexpectedEOF
	default:
		return apimachinery.User{Name: name, Groups: r.Header.Values("Test-Group")}, true, nil
	}
}

var tester = apimachinery.User{Name: "tester", Groups: []string{"system:authenticated"}}

// bothDoors runs a test in process and over HTTPS, each with a server of its own.
func bothDoors(t *testing.T, change func(*server.Config), test func(t *testing.T, d apimachinery.Doer, w *world)) {
	t.Run("in process", func(t *testing.T) {
		w := start(t, change)
		test(t, w.s.As(tester), w)
	})
	t.Run("HTTPS", func(t *testing.T) {
		w := start(t, change)
		test(t, w.conn, w)
	})
}

func do(t testing.TB, d apimachinery.Doer, r *apimachinery.Request) ([]byte, *apimachinery.Response, error) {
	t.Helper()
	resp, err := d.Do(t.Context(), r)
	if err != nil {
		return nil, nil, err
	}
	body := resp.Body
	if resp.Stream != nil {
		body, err = io.ReadAll(resp.Stream)
		require.NoError(t, err)
		require.NoError(t, resp.Stream.Close())
	}
	return body, resp, nil
}

func must[T any](t testing.TB, d apimachinery.Doer, r *apimachinery.Request) *T {
	t.Helper()
	body, _, err := do(t, d, r)
	require.NoError(t, err)
	out := new(T)
	require.NoError(t, apimachinery.DecodeLoose(body, out), string(body))
	return out
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
}

func newDatabase(name string) *database {
	return &database{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: databaseSpec{Engine: "pg"}}
}

func create(gvr schema.GroupVersionResource, o runtime.Object) *apimachinery.Request {
	return &apimachinery.Request{Verb: "create", Resource: gvr, Namespace: "default", Object: o}
}

func update(gvr schema.GroupVersionResource, o apimachinery.Object) *apimachinery.Request {
	return &apimachinery.Request{Verb: "update", Resource: gvr, Namespace: "default", Name: o.GetName(), Object: o}
}

func get(gvr schema.GroupVersionResource, name string) *apimachinery.Request {
	return &apimachinery.Request{Verb: "get", Resource: gvr, Namespace: "default", Name: name}
}

func remove(gvr schema.GroupVersionResource, name string, o *metav1.DeleteOptions) *apimachinery.Request {
	r := &apimachinery.Request{Verb: "delete", Resource: gvr, Namespace: "default", Name: name}
	if o != nil {
		r.Options = o
	}
	return r
}

func patch(gvr schema.GroupVersionResource, name, contentType, body string) *apimachinery.Request {
	return &apimachinery.Request{Verb: "patch", Resource: gvr, Namespace: "default", Name: name, ContentType: contentType, Body: []byte(body)}
}

func list(gvr schema.GroupVersionResource, o metav1.ListOptions) *apimachinery.Request {
	return &apimachinery.Request{Verb: "list", Resource: gvr, Namespace: "default", Options: &o}
}

func names(l *metav1.PartialObjectMetadataList) (out []string) {
	for _, o := range l.Items {
		out = append(out, o.Name)
	}
	return out
}

// watching reads a watch event by event.
type watching struct {
	t      testing.TB
	lines  *bufio.Scanner
	cancel context.CancelFunc
	events chan watched
}

type watched struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

func (e watched) meta() metav1.PartialObjectMetadata {
	var m metav1.PartialObjectMetadata
	_ = json.Unmarshal(e.Object, &m)
	return m
}

func (e watched) String() string { return e.Type + " " + e.meta().Name }

func watch(t testing.TB, d apimachinery.Doer, gvr schema.GroupVersionResource, o metav1.ListOptions) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := d.Do(ctx, &apimachinery.Request{Verb: "watch", Resource: gvr, Namespace: "default", Options: &o})
	if err != nil {
		cancel()
	}
	require.NoError(t, err)
	w := &watching{t: t, cancel: cancel, events: make(chan watched)}
	go func() {
		defer close(w.events)
		defer resp.Stream.Close()
		lines := bufio.NewScanner(resp.Stream)
		lines.Buffer(nil, 8<<20)
		for lines.Scan() {
			var e watched
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				return
			}
			select {
			case w.events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range w.events {
		}
	})
	return w
}

func (w *watching) next() watched {
	w.t.Helper()
	select {
	case e, ok := <-w.events:
		require.True(w.t, ok, "the watch has ended")
		return e
	case <-time.After(10 * time.Second):
		require.FailNow(w.t, "no event")
	}
	return watched{}
}

func (w *watching) ended() {
	w.t.Helper()
	select {
	case e, ok := <-w.events:
		require.False(w.t, ok, "unexpected: %v", e)
	case <-time.After(10 * time.Second):
		require.FailNow(w.t, "the watch goes on")
	}
}

func (w *watching) expect(want ...string) {
	w.t.Helper()
	for _, s := range want {
		require.Equal(w.t, s, strings.TrimSpace(w.next().String()))
	}
}
