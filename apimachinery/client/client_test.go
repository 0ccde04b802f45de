package client_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func kinds() []apimachinery.Resource {
	return []apimachinery.Resource{core.ConfigMaps(), core.Namespaces(), clienttest.Widgets()}
}

func TestInProcess(t *testing.T) {
	clienttest.Run(t, func(t *testing.T) *client.Client {
		return clienttest.Start(t, clienttest.Config{Resources: kinds()}).Client
	})
}

func TestHTTPS(t *testing.T) {
	clienttest.Run(t, func(t *testing.T) *client.Client {
		env := clienttest.Start(t, clienttest.Config{Resources: kinds(), HTTPS: true})
		return client.New(connect(t, env, nil), env.Client.Registry())
	})
}

func connect(t *testing.T, env *clienttest.Env, change func(*client.Config)) *client.Conn {
	c := client.Config{Server: env.URL, CA: env.CA, Cert: env.Cert, Key: env.Key}
	if change != nil {
		change(&c)
	}
	conn, err := client.HTTPS(c)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestOneConnection sends many requests at once over HTTP/2, and so over one connection.
func TestOneConnection(t *testing.T) {
	env := clienttest.Start(t, clienttest.Config{Resources: kinds(), HTTPS: true})
	var dials atomic.Int32
	conn := connect(t, env, func(c *client.Config) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
	})
	maps := client.For[*corev1.ConfigMap](client.New(conn, env.Client.Registry()))
	_, err := maps.List(t.Context())
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			_, err := maps.List(t.Context())
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, dials.Load())
}

// TestIdentity acts as somebody else, and is refused without a certificate that the authority signed.
func TestIdentity(t *testing.T) {
	var seen atomic.Pointer[apimachinery.User]
	env := clienttest.Start(t, clienttest.Config{
		Resources: kinds(), HTTPS: true,
		Authorizer: apimachinery.AuthorizerFunc(func(_ context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
			if a.Resource == "configmaps" {
				u := a.User
				seen.Store(&u)
			}
			return apimachinery.Allow, "", nil
		}),
	})
	jane := apimachinery.User{Name: "jane", Groups: []string{"dev"}, Extra: map[string][]string{"example.org/team": {"a"}}}
	conn := connect(t, env, func(c *client.Config) { c.Impersonate = jane })
	maps := client.For[*corev1.ConfigMap](client.New(conn, env.Client.Registry()))
	made, err := maps.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "one"}, Data: map[string]string{"a": "1"},
	})
	require.NoError(t, err)
	require.Equal(t, "bedplate", made.ManagedFields[0].Manager, "the user agent's first word")
	require.Equal(t, "jane", seen.Load().Name)
	require.Contains(t, seen.Load().Groups, "dev")
	require.Equal(t, jane.Extra, seen.Load().Extra)

	stranger := connect(t, env, func(c *client.Config) { c.CA = nil })
	_, err = client.For[*corev1.ConfigMap](client.New(stranger, env.Client.Registry())).List(t.Context())
	require.ErrorContains(t, err, "certificate signed by unknown authority")
}

// trip answers requests with functions, one after the other.
type trip []func(*http.Request) (*http.Response, error)

func (t *trip) RoundTrip(r *http.Request) (*http.Response, error) {
	f := (*t)[0]
	*t = (*t)[1:]
	return f(r)
}

func answer(code int, body string, header ...string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{"Content-Type": {"application/json"}}
		for i := 0; i+1 < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: code, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

func over(t *testing.T, answers ...func(*http.Request) (*http.Response, error)) client.Resource[*corev1.ConfigMap] {
	registry, err := apimachinery.NewRegistry(kinds()...)
	require.NoError(t, err)
	tr := trip(answers)
	conn, err := client.Over(&tr, "https://example.org/prefix")
	require.NoError(t, err)
	return client.For[*corev1.ConfigMap](client.New(conn, registry))
}

func TestBusyServerIsAskedAgain(t *testing.T) {
	busy := answer(429, `{"kind":"Status","status":"Failure","reason":"TooManyRequests","code":429}`, "Retry-After", "0")
	later := answer(429, `{"kind":"Status","status":"Failure","reason":"TooManyRequests","code":429,"details":{"retryAfterSeconds":1}}`)
	maps := over(t, later, answer(200, `{"metadata":{"name":"a"}}`))
	o, err := maps.Get(t.Context(), "default", "a")
	require.NoError(t, err)
	require.Equal(t, "a", o.Name)
	maps = over(t, busy)
	_, err = maps.Get(t.Context(), "default", "a")
	require.True(t, apierrors.IsTooManyRequests(err), "%v", err)
}

func TestBadAnswers(t *testing.T) {
	_, err := over(t, answer(200, `<html>`)).Get(t.Context(), "default", "a")
	require.ErrorContains(t, err, "get configmaps default/a: decode the answer")
	_, err = over(t, answer(302, ``, "Location", "http://169.254.169.254/")).Get(t.Context(), "default", "a")
	require.Error(t, err)

	watch := func(stream string) error {
		w, err := over(t, answer(200, stream)).Watch(t.Context())
		require.NoError(t, err)
		defer w.Close()
		_, err = w.Next(t.Context())
		return err
	}
	require.ErrorIs(t, watch(""), io.EOF)
	require.ErrorContains(t, watch(`{"type":"ODD","object":{}}`+"\n"), `unknown type "ODD"`)
	require.ErrorContains(t, watch(`{"type":`), "decode an event")
	err = watch(`{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410}}` + "\n")
	require.True(t, apierrors.IsResourceExpired(err), "%v", err)
	require.ErrorContains(t, watch(`{"type":"ADDED","object":{"data":{"a":"`+strings.Repeat("x", client.MaxEvent)), "too large")
}

func TestEventsInAnyForm(t *testing.T) {
	stream := "\n" + `{ "object": {"metadata":{"name":"a"}}, "type": "ADDED" }` + "\n\n" +
		`{"type":"MODIFIED","object":{"metadata":{"name":"a"},"data":{"b":"` + strings.Repeat("x", 100_000) + `"}}}` + "\n" +
		`{"type":"DELETED","object":{"metadata":{"name":"a"}}}`
	w, err := over(t, answer(200, stream)).Watch(t.Context())
	require.NoError(t, err)
	var types []client.EventType
	for e, err := range w.All(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, "a", e.Object.Name)
		types = append(types, e.Type)
	}
	require.Equal(t, []client.EventType{client.Added, client.Modified, client.Deleted}, types)
}

func TestConfigIsJudged(t *testing.T) {
	token := func(context.Context) (string, error) { return "secret", nil }
	for want, c := range map[string]client.Config{
		"give it as https://host:port":     {Server: "example.org"},
		"one is missing":                   {Server: "https://example.org", Cert: []byte("x")},
		"credentials are sent over https":  {Server: "http://example.org", Token: token},
		"the CA holds no certificate":      {Server: "https://example.org", CA: []byte("x")},
		"client certificate: tls: failed ": {Server: "https://example.org", Cert: []byte("x"), Key: []byte("y")},
	} {
		_, err := client.HTTPS(c)
		require.ErrorContains(t, err, want)
	}
}

func TestSubresourceOfAnotherKind(t *testing.T) {
	maps := over(t, answer(201, `{"kind":"Status","status":"Success"}`))
	out, err := client.Sub[corev1.Binding](maps, "binding").Create(t.Context(), "default", "a", &corev1.Binding{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Binding"}})
	require.NoError(t, err)
	require.Nil(t, out)
}

func Example() {
	t := clienttest.NoTest()
	defer t.End()
	c := clienttest.Start(t, clienttest.Config{Resources: kinds()}).Client
	ctx := context.Background()

	maps := client.For[*corev1.ConfigMap](c)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "colours"}}
	_, _ = maps.Create(ctx, cm)
	_, _ = maps.Modify(ctx, "default", "colours", func(cm *corev1.ConfigMap) error {
		cm.Data = map[string]string{"sky": "blue"}
		return nil
	})
	for cm, err := range maps.All(ctx, client.InNamespace("default")) {
		fmt.Println(cm.Name, cm.Data, err)
	}
	_, err := maps.Get(ctx, "default", "shapes")
	fmt.Println(err)
	// Output:
	// colours map[sky:blue] <nil>
	// get configmaps default/shapes: configmaps "shapes" not found
}
