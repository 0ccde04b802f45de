package server_test

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// leaving is a server that the test itself stops.
func leaving(t *testing.T, limits server.Limits, gate apimachinery.Authorizer) (w *world, stop context.CancelFunc, ended <-chan error) {
	b, err := memory.New(memory.Config{History: 100})
	require.NoError(t, err)
	db, err := storage.New(b, storage.Config{Window: 100})
	require.NoError(t, err)
	r, err := apimachinery.NewRegistry(resources()...)
	require.NoError(t, err)
	s, err := server.New(server.Config{Registry: r, DB: db, Authenticator: byHeader{}, Authorizer: gate, Limits: limits})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	dbCtx, dbCancel := context.WithCancel(context.Background())
	dbEnded, served := make(chan struct{}), make(chan error, 1)
	go func() { defer close(dbEnded); _ = db.Run(dbCtx) }()
	go func() { served <- s.Run(ctx) }()
	<-s.Ready()
	w = &world{t: t, s: s, db: db, r: r, url: "http://" + s.Addr().String(), http: plainHTTP()}
	t.Cleanup(func() { cancel(); w.http.CloseIdleConnections(); dbCancel(); <-dbEnded })
	return w, cancel, served
}

// A server that goes says so first, then serves what it has begun, and ends watches cleanly.
func TestShutdownDrains(t *testing.T) {
	enter, leave := make(chan struct{}), make(chan struct{})
	gate := apimachinery.AuthorizerFunc(func(_ context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
		if a.User.Name == "slow" {
			enter <- struct{}{}
			<-leave
		}
		return apimachinery.Allow, "", nil
	})
	w, stop, ended := leaving(t, server.Limits{ShutdownDelay: 3 * time.Second, Drain: 30 * time.Second}, gate)
	open := watch(t, w.s.As(tester), configMaps, metav1.ListOptions{ResourceVersion: "0"})
	code, _, _ := w.ask("GET", "/readyz", "")
	require.Equal(t, 200, code)
	slow := make(chan int)
	go func() {
		req, err := http.NewRequest("GET", w.url+"/api/v1/configmaps", nil)
		if err != nil {
			panic(err)
		}
		req.Header.Set("Test-User", "slow")
		resp, err := w.http.Do(req)
		if err != nil {
			panic(err)
		}
		_ = resp.Body.Close()
		slow <- resp.StatusCode
	}()
	<-enter
	stop()
	require.Eventually(t, func() bool {
		code, _, _ := w.ask("GET", "/readyz", "")
		return code == 500
	}, 2500*time.Millisecond, time.Millisecond, "it says that it goes")
	code, _, _ = w.ask("GET", "/livez", "")
	require.Equal(t, 200, code, "it lives")
	code, _, _ = w.ask("GET", "/api/v1/configmaps", "")
	require.Equal(t, 200, code, "it serves")
	open.ended()
	select {
	case err := <-ended:
		require.FailNow(t, "it did not wait for the request under way", "%v", err)
	default:
	}
	close(leave)
	require.Equal(t, 200, <-slow)
	require.NoError(t, <-ended)
}

func TestGoaway(t *testing.T) {
	w := start(t, func(c *server.Config) { c.Limits.Goaway = 0.02 })
	connections := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			connections++
		}
	}})
	for range 2000 {
		req, err := http.NewRequestWithContext(ctx, "GET", w.url+"/api/v1/configmaps", nil)
		require.NoError(t, err)
		resp, err := w.http.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 200, resp.StatusCode)
	}
	require.Greater(t, connections, 5, "of 2,000 requests about 40 are the last of their connection")
	_, err := server.New(server.Config{Registry: w.r, DB: w.db, Limits: server.Limits{Goaway: 0.5}})
	require.ErrorContains(t, err, "GOAWAY")
}

// A client may ask for less time than there is, not for more.
func TestTimeoutOfARequest(t *testing.T) {
	gate := apimachinery.AuthorizerFunc(func(ctx context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
		if a.User.Name != "slow" {
			return apimachinery.Allow, "", nil
		}
		<-ctx.Done()
		return apimachinery.NoOpinion, "", ctx.Err()
	})
	w := start(t, func(c *server.Config) { c.Authorizer, c.Limits.Timeout = gate, 100*time.Millisecond })
	for _, asked := range []string{"10ms", "10h", "0", "0s", "-5s", ""} {
		code, _, body := w.ask("GET", "/api/v1/configmaps?timeout="+asked, "", "Test-User", "slow")
		require.Contains(t, []int{403, 504}, code, "%s: %s", asked, body)
	}
	code, _, body := w.ask("GET", "/api/v1/configmaps?timeout=soon", "")
	require.Equal(t, 400, code)
	require.Equal(t, metav1.StatusReasonBadRequest, statusIn(t, body).Reason)
}
