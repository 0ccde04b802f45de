package server_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

func TestTwoServersOverOneStore(t *testing.T) {
	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	one, two := startOver(t, b, nil), startOver(t, b, nil)
	seen := watch(t, two.conn, configMaps, metav1.ListOptions{})
	made := must[corev1.ConfigMap](t, one.conn, create(configMaps, configMap("a", nil)))
	seen.expect("ADDED a")
	require.Equal(t, made, must[corev1.ConfigMap](t, two.conn, get(configMaps, "a")), "a read is never older than a write")
	_, _, err = do(t, two.conn, create(configMaps, configMap("a", nil)))
	require.True(t, apierrors.IsAlreadyExists(err))

	const each = 25
	var wg sync.WaitGroup
	for i, w := range []*world{one, two} {
		for j := range 4 {
			wg.Go(func() {
				for n := range each {
					_, err := w.s.As(tester).Do(t.Context(), patch(configMaps, "a", mergePatch, fmt.Sprintf(`{"data":{"k%d-%d-%d":"x"}}`, i, j, n)))
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	require.Len(t, must[corev1.ConfigMap](t, one.conn, get(configMaps, "a")).Data, 2*4*each)
	first := must[metav1.PartialObjectMetadataList](t, one.conn, list(configMaps, metav1.ListOptions{Limit: 1}))
	other := must[metav1.PartialObjectMetadataList](t, two.conn, list(configMaps, metav1.ListOptions{ResourceVersion: first.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact}))
	require.Equal(t, first.Items, other.Items)
}

func TestTwoServersInOneProcess(t *testing.T) {
	one, two := start(t, nil), start(t, nil)
	must[corev1.ConfigMap](t, one.conn, create(configMaps, configMap("a", nil)))
	_, _, err := do(t, two.conn, get(configMaps, "a"))
	require.True(t, apierrors.IsNotFound(err))
	must[corev1.ConfigMap](t, two.s.As(tester), create(configMaps, configMap("a", nil)))
}

func TestConfig(t *testing.T) {
	w := start(t, nil)
	m, err := memory.New(memory.Config{})
	require.NoError(t, err)
	db := func() *storage.DB {
		db, err := storage.New(m, storage.Config{})
		require.NoError(t, err)
		return db
	}
	for says, c := range map[string]server.Config{
		"no Registry":              {DB: db()},
		"no DB":                    {Registry: w.r},
		"a limit is negative":      {Registry: w.r, DB: db(), Limits: server.Limits{Reads: -1}},
		"admission plugin 0 needs": {Registry: w.r, DB: db(), Admission: []apimachinery.Plugin{{Name: "x"}}},
		"has no certificate":       {Registry: w.r, DB: db(), TLS: tlsFor(nil)},
		"overlaps table":           {Registry: w.r, DB: w.db},
	} {
		_, err := server.New(c)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "configure API server")
	}
	require.ErrorContains(t, w.s.Run(t.Context()), "it ran already")

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	s, err := server.New(server.Config{Registry: w.r, DB: db(), Listen: taken.Addr().String()})
	require.NoError(t, err)
	require.ErrorContains(t, s.Run(t.Context()), "address already in use")
}

func TestDrain(t *testing.T) {
	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	db, err := storage.New(b, storage.Config{})
	require.NoError(t, err)
	r, err := apimachinery.NewRegistry(resources()...)
	require.NoError(t, err)
	enter, leave := make(chan struct{}), make(chan struct{})
	slowly := apimachinery.AuthorizerFunc(func(_ context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
		if a.Verb == "create" {
			close(enter)
			<-leave
		}
		return apimachinery.Allow, "", nil
	})
	s, err := server.New(server.Config{Registry: r, DB: db, Authorizer: slowly})
	require.NoError(t, err)
	dbCtx, dbCancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = db.Run(dbCtx) })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-s.Ready()
	w := &world{t: t, s: s, url: "http://" + s.Addr().String(), http: plainHTTP()}
	defer w.http.CloseIdleConnections()

	inProcess := watch(t, s.As(tester), configMaps, metav1.ListOptions{})
	code := make(chan int, 1)
	go func() {
		c, _, _ := w.ask("POST", "/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"a"}}`, "Content-Type", "application/json")
		code <- c
	}()
	<-enter
	cancel()
	inProcess.ended()
	close(leave)
	require.Equal(t, 201, <-code, "what was under way is finished")
	require.NoError(t, <-ended)
	dbCancel()
	wg.Wait()
}

type plugin struct {
	mutate   func(ctx context.Context, a *apimachinery.Admission) error
	validate func(ctx context.Context, a *apimachinery.Admission) error
}

func (p plugin) Mutate(ctx context.Context, a *apimachinery.Admission) error {
	if p.mutate == nil {
		return nil
	}
	return p.mutate(ctx, a)
}

func (p plugin) Validate(ctx context.Context, a *apimachinery.Admission) error {
	if p.validate == nil {
		return nil
	}
	return p.validate(ctx, a)
}

func TestAdmission(t *testing.T) {
	var mu sync.Mutex
	var seen []apimachinery.Admission
	with := func(c *server.Config) {
		seen = nil
		p := plugin{
			mutate: func(_ context.Context, a *apimachinery.Admission) error {
				if o, ok := a.Object.(*database); ok && a.Operation == "CREATE" {
					o.Labels = map[string]string{"admitted": "yes"}
					o.Spec.Replicas = nil
				}
				return nil
			},
			validate: func(_ context.Context, a *apimachinery.Admission) error {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, *a)
				if a.Operation == "CREATE" && a.Name == "refused" {
					return fmt.Errorf("not this one")
				}
				a.Warn("seen")
				if a.Old != nil {
					a.Old.SetName("spoilt") // a copy: nobody is hurt
				}
				return nil
			},
		}
		c.Admission = []apimachinery.Plugin{{Name: "test", Mutate: p, Validate: p}}
	}
	bothDoors(t, with, func(t *testing.T, d apimachinery.Doer, w *world) {
		body, resp, err := do(t, d, create(databases, newDatabase("a")))
		require.NoError(t, err)
		require.Equal(t, []string{"seen"}, resp.Warnings)
		var o database
		require.NoError(t, apimachinery.DecodeLoose(body, &o))
		require.Equal(t, "yes", o.Labels["admitted"])
		require.EqualValues(t, 1, *o.Spec.Replicas, "defaulted again")
		require.NotContains(t, string(o.ManagedFields[0].FieldsV1.GetRawBytes()), "admitted", "nobody owns what admission added")
		_, _, err = do(t, d, create(databases, newDatabase("refused")))
		require.True(t, apierrors.IsForbidden(err), "%v", err)
		require.EqualError(t, err, `databases.db.example.com "refused" is forbidden: not this one`)
		must[metav1.Status](t, d, place("a", "n1", ""))
		three := int64(3)
		must[database](t, d, remove(databases, "a", &metav1.DeleteOptions{GracePeriodSeconds: &three}))
		mu.Lock()
		defer mu.Unlock()
		require.Len(t, seen, 4)
		bound, deleted := seen[2], seen[3]
		require.Equal(t, "placement", bound.Sub)
		require.Equal(t, "Placement", bound.Kind.Kind)
		require.Equal(t, "n1", bound.Object.(*placement).Spec.Host)
		require.Equal(t, "a", bound.Parent.GetName())
		require.Equal(t, "DELETE", deleted.Operation)
		require.Nil(t, deleted.Object)
		require.Equal(t, "n1", deleted.Old.(*database).Spec.Host)
		require.Equal(t, "tester", deleted.User.Name)
		require.Equal(t, "a", must[database](t, d, get(databases, "a")).Name)
	})
}

// TestPluginsMayAsk lets a plugin make requests of its own: they pass where the door is full, but not for ever.
func TestPluginsMayAsk(t *testing.T) {
	var w *world
	depth := 0
	w = start(t, func(c *server.Config) {
		c.Limits.Writes = 1
		c.Admission = []apimachinery.Plugin{{Name: "asks", Mutate: plugin{mutate: func(ctx context.Context, a *apimachinery.Admission) error {
			depth++
			_, err := w.s.As(tester).Do(ctx, create(configMaps, configMap(a.Name+"-x", nil)))
			return err
		}}}}
	})
	_, _, err := do(t, w.s.As(tester), create(configMaps, configMap("a", nil)))
	require.ErrorContains(t, err, "deep in each other")
	require.Equal(t, 9, depth)
}

// TestViews serves one table in two versions that differ.
func TestViews(t *testing.T) {
	type oldSpec struct {
		Kind string `json:"kindOfEngine,omitempty"`
	}
	type oldDatabase = apimachinery.Typed[oldSpec, databaseStatus]
	old := schema.GroupVersionKind{Group: "db.example.com", Version: "v1alpha1", Kind: "Database"}
	oldDatabases := old.GroupVersion().WithResource("databases")
	with := func(c *server.Config) {
		res := resources()
		res[2].Views = append(res[2].Views, apimachinery.View{
			GroupVersionKind: old, Plural: "databases", New: func() apimachinery.Object { return &oldDatabase{} },
			FromHub: func(o apimachinery.Object) (apimachinery.Object, error) {
				d := o.(*database)
				return &oldDatabase{ObjectMeta: d.ObjectMeta, Spec: oldSpec{d.Spec.Engine}, Status: d.Status}, nil
			},
			ToHub: func(o apimachinery.Object) (apimachinery.Object, error) {
				d := o.(*oldDatabase)
				return &database{ObjectMeta: d.ObjectMeta, Spec: databaseSpec{Engine: d.Spec.Kind}, Status: d.Status}, nil
			},
			Fields: []apimachinery.Field{{Name: "spec.kindOfEngine", Paths: []string{"spec.engine"}}},
		})
		r, err := apimachinery.NewRegistry(res...)
		if err != nil {
			panic(err)
		}
		c.Registry = r
	}
	bothDoors(t, with, func(t *testing.T, d apimachinery.Doer, w *world) {
		made := must[oldDatabase](t, d, create(oldDatabases, &oldDatabase{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: oldSpec{"pg"}}))
		require.Equal(t, old, made.GroupVersionKind())
		require.Equal(t, "pg", made.Spec.Kind)
		require.Equal(t, "db.example.com/v1alpha1", made.ManagedFields[0].APIVersion)
		now := must[database](t, d, get(databases, "a"))
		require.Equal(t, "db.example.com/v1", now.APIVersion)
		require.Equal(t, "pg", now.Spec.Engine)
		require.EqualValues(t, 1, *now.Spec.Replicas)
		require.Equal(t, made.ResourceVersion, now.ResourceVersion)

		events := watch(t, d, oldDatabases, metav1.ListOptions{FieldSelector: "spec.kindOfEngine=pg"})
		events.expect("ADDED a")
		must[oldDatabase](t, d, patch(oldDatabases, "a", mergePatch, `{"metadata":{"labels":{"x":"y"}}}`))
		e := events.next()
		var changed oldDatabase
		require.NoError(t, apimachinery.DecodeLoose(e.Object, &changed))
		require.Equal(t, old, changed.GroupVersionKind())
		require.Equal(t, "pg", changed.Spec.Kind)
		l := must[metav1.PartialObjectMetadataList](t, d, list(oldDatabases, metav1.ListOptions{}))
		require.Equal(t, "DatabaseList", l.Kind)
		require.Equal(t, "db.example.com/v1alpha1", l.Items[0].APIVersion)
		_, _, err := do(t, d, list(oldDatabases, metav1.ListOptions{FieldSelector: "spec.engine=pg"}))
		require.True(t, apierrors.IsBadRequest(err), "a view has fields of its own")
	})
}

// TestResourcesComeAndGo adds and removes a resource while the server runs.
func TestResourcesComeAndGo(t *testing.T) {
	w := start(t, nil)
	widgets := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
	widget := apimachinery.Define[struct {
		Size int `json:"size,omitempty"`
	}, struct{}](widgets.GroupVersion().WithKind("Widget"), "widgets")
	object := func() apimachinery.Object {
		o := widget.New()
		o.SetName("a")
		return o
	}
	_, _, err := do(t, w.conn, create(widgets, object()))
	require.True(t, apierrors.IsNotFound(err))
	for range 3 {
		require.NoError(t, w.r.Add(widget))
		_, _, err = do(t, w.conn, create(widgets, object()))
		require.NoError(t, err)
		x := watch(t, w.conn, widgets, metav1.ListOptions{})
		x.expect("ADDED a")
		code, _, body := w.ask("GET", "/apis/example.com/v1", "")
		require.Equal(t, 200, code)
		require.Contains(t, body, `"widgets"`)
		_, _, err = do(t, w.conn, remove(widgets, "a", nil))
		require.NoError(t, err)
		x.expect("DELETED a")
		w.r.Remove(widget.Name)
		x.ended()
		_, _, err = do(t, w.conn, get(widgets, "a"))
		require.True(t, apierrors.IsNotFound(err))
	}
}

func TestTTL(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	w := start(t, func(c *server.Config) {
		res := resources()
		res[0].TTL = time.Hour
		r, err := apimachinery.NewRegistry(res...)
		require.NoError(t, err)
		c.Registry, c.Now, c.Limits.Sweep = r, clock, 10*time.Millisecond
	})
	d := w.conn
	for _, name := range []string{"a", "b"} {
		must[corev1.ConfigMap](t, d, create(configMaps, configMap(name, map[string]string{"k": "0"})))
	}
	x := watch(t, d, configMaps, metav1.ListOptions{ResourceVersion: "0"})
	x.expect("ADDED a", "ADDED b")
	advance := func(by time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(by)
	}
	advance(50 * time.Minute)
	r := update(configMaps, configMap("b", map[string]string{"k": "1", "l": "2"}))
	must[corev1.ConfigMap](t, d, r)
	x.expect("MODIFIED b")
	advance(20 * time.Minute)
	x.expect("DELETED a")
	require.Equal(t, "1", must[corev1.ConfigMap](t, d, get(configMaps, "b")).Data["k"], "its time began anew")
	advance(45 * time.Minute)
	x.expect("DELETED b")
}

func TestVirtual(t *testing.T) {
	echo := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "echoes"}
	with := func(c *server.Config) {
		res := apimachinery.Define[struct {
			Text string `json:"text,omitempty"`
		}, struct {
			User string `json:"user,omitempty"`
		}](echo.GroupVersion().WithKind("Echo"), "echoes")
		res.Namespaced = false
		res.Subs = nil
		res.Virtual = func(_ context.Context, r *apimachinery.Request, o apimachinery.Object) (apimachinery.Object, error) {
			if o.GetName() == "bad" {
				return nil, apierrors.NewBadRequest("bad")
			}
			o.SetAnnotations(map[string]string{"user": r.User.Name})
			return o, nil
		}
		r, err := apimachinery.NewRegistry(append(resources(), res)...)
		if err != nil {
			panic(err)
		}
		c.Registry = r
	}
	bothDoors(t, with, func(t *testing.T, d apimachinery.Doer, w *world) {
		r := &apimachinery.Request{Verb: "create", Resource: echo, Body: []byte(`{"spec":{"text":"x"}}`)}
		m := must[metav1.PartialObjectMetadata](t, d, r)
		require.Equal(t, "tester", m.Annotations["user"])
		require.Equal(t, "Echo", m.Kind)
		r.Body = []byte(`{"metadata":{"name":"bad"}}`)
		_, _, err := do(t, d, r)
		require.True(t, apierrors.IsBadRequest(err))
		_, _, err = do(t, d, &apimachinery.Request{Verb: "list", Resource: echo})
		require.True(t, apierrors.IsMethodNotSupported(err), "%v", err)
	})
}

// TestStoredBytes looks at what lies in the store.
func TestStoredBytes(t *testing.T) {
	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	w := startOver(t, b, nil)
	made := must[database](t, w.conn, create(databases, newDatabase("a")))
	page, err := b.Range(t.Context(), storage.Range{Prefix: "/registry/db.example.com/databases/"})
	require.NoError(t, err)
	require.Len(t, page.KVs, 1)
	require.Equal(t, "/registry/db.example.com/databases/default/a", page.KVs[0].Key)
	raw := string(page.KVs[0].Value)
	require.True(t, strings.HasPrefix(raw, `{"kind":"Database","apiVersion":"db.example.com/v1","metadata":{"name":"a","namespace":"default","uid":"`), raw)
	require.NotContains(t, raw, "resourceVersion")
	require.Contains(t, raw, `"replicas":1`, "defaulted")
	require.Equal(t, strconv.FormatInt(page.KVs[0].Rev, 10), made.ResourceVersion)
	made.ResourceVersion = ""
	whole, err := apimachinery.Encode(made)
	require.NoError(t, err)
	require.Equal(t, string(whole), raw, "what is stored is what an encoder writes")
}

// TestAlso: further listeners are served alike, and end with the server.
func TestAlso(t *testing.T) {
	also, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Run("serving", func(t *testing.T) {
		w := start(t, func(c *server.Config) { c.Also = []net.Listener{also} })
		for _, url := range []string{w.url, "https://" + also.Addr().String()} {
			resp, err := w.http.Get(url + "/version")
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, 200, resp.StatusCode)
		}
	})
	_, err = net.Dial("tcp", also.Addr().String())
	require.Error(t, err)
}
