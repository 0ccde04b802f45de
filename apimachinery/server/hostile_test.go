package server_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds"
	"github.com/bedplate/bedplate/apimachinery/server"
)

// hostile is one request of the corpus. It is wrong by construction, unless it is a dry run.
type hostile struct {
	kind         string // of the corpus
	method, path string
	header       [][2]string
	body         string
	codes        []int // what it may be answered with; nil: any 4xx
	old          bool  // over HTTP/1.1
	dry          bool  // it may be right, and asks for nothing to be stored
}

func (h hostile) String() string {
	body := h.body
	if len(body) > 600 {
		body = fmt.Sprintf("%s… (%d bytes)", body[:600], len(body))
	}
	return fmt.Sprintf("%s: %s %s %v\n%q", h.kind, h.method, h.path, h.header, body)
}

const hostileRequests = 12_000

// hostileSeed is that of the corpus; HOSTILE_SEED in the environment is another.
func hostileSeed(t testing.TB) uint64 {
	if s := os.Getenv("HOSTILE_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		return n
	}
	return 20261122
}

// everything is a server with every built-in kind, priority and fairness included.
func everything(t testing.TB, reg *prometheus.Registry) *world {
	return start(t, func(c *server.Config) {
		r, err := apimachinery.NewRegistry(slices.Concat(kinds.All(), []apimachinery.Resource{resources()[2]})...)
		require.NoError(t, err)
		c.Registry, c.Registerer = r, reg
		c.Limits.Drain = time.Second
	})
}

// furnish stores what the corpus is about.
func (w *world) furnish() {
	w.t.Helper()
	for _, x := range [][2]string{
		{"/api/v1/namespaces", `{"metadata":{"name":"default"}}`},
		{"/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"there","labels":{"a":"b"},"finalizers":["example.com/x"]},"data":{"a":"b","long":"` + strings.Repeat("x", 1000) + `"}}`},
		{"/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"other"}}`},
		{"/api/v1/namespaces/default/secrets", `{"metadata":{"name":"there"}}`},
		{"/api/v1/namespaces/default/pods", `{"metadata":{"name":"there"},"spec":{"containers":[{"name":"c","image":"i"}]}}`},
		{"/apis/apps/v1/namespaces/default/deployments", `{"metadata":{"name":"there"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`},
		{"/apis/db.example.com/v1/namespaces/default/databases", `{"metadata":{"name":"there"},"spec":{"engine":"pg"}}`},
		{"/api/v1/nodes", `{"metadata":{"name":"there"}}`},
	} {
		code, _, body := w.ask("POST", x[0], x[1], "Content-Type", "application/json", "Test-User", "root", "Test-Group", "system:masters")
		require.Equal(w.t, 201, code, body)
	}
}

func (w *world) revision() int64 {
	w.t.Helper()
	rev, err := w.db.Revision(w.t.Context())
	require.NoError(w.t, err)
	return rev
}

// sender sends requests as they are, over connections of its own.
func (w *world) sender(http2 bool) *http.Client {
	c := w.http.Transport.(*http.Transport).TLSClientConfig.Clone()
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: http2, MaxIdleConnsPerHost: 8, DisableCompression: true}
	if !http2 {
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		c.NextProtos = []string{"http/1.1"}
	}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// send sends one request and says what is wrong with the answer; "" if nothing is.
func (w *world) send(ctx context.Context, c *http.Client, h *hostile) (code int, fault string) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	host := strings.TrimPrefix(w.url, "https://")
	req := (&http.Request{
		Method: h.method, URL: &url.URL{Scheme: "https", Host: host, Opaque: "//" + host + h.path}, Header: http.Header{}, Host: host,
	}).WithContext(ctx)
	if h.body != "" {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(h.body)), int64(len(h.body))
	}
	for _, kv := range h.header {
		req.Header[kv[0]] = append(req.Header[kv[0]], kv[1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "no answer: " + err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return 0, "answer cut off: " + err.Error()
	}
	return resp.StatusCode, judgeAnswer(h, resp, body)
}

func judgeAnswer(h *hostile, resp *http.Response, body []byte) string {
	code := resp.StatusCode
	switch {
	case h.dry && code >= 200 && code < 300:
		return ""
	case code < 400 || code > 499:
		return fmt.Sprintf("code %d: %.600s", code, body)
	case h.codes != nil && !slices.Contains(h.codes, code):
		return fmt.Sprintf("code %d, not one of %v: %.600s", code, h.codes, body)
	case code == 431 || h.method == "HEAD":
		return "" // net/http's own answer to headers that it does not read
	}
	var s metav1.Status
	switch err := json.Unmarshal(body, &s); {
	case err != nil:
		return fmt.Sprintf("no Status (%s): %.600s", resp.Header.Get("Content-Type"), body)
	case s.Kind != "Status" || s.Status != metav1.StatusFailure || int(s.Code) != code || s.Message == "":
		return fmt.Sprintf("not the Status of a %d: %.600s", code, body)
	case s.Reason == "" || s.Reason == metav1.StatusReasonUnknown:
		return fmt.Sprintf("no reason: %.600s", body)
	case len(body) > 64<<10:
		return fmt.Sprintf("an answer of %d bytes", len(body))
	}
	return ""
}

// TestHostileRequests sends the corpus: FAILURES rows 29 to 32, and the fault of 10,000 bad requests.
func TestHostileRequests(t *testing.T) {
	seed := hostileSeed(t)
	t.Logf("seed %d", seed)
	reg := prometheus.NewRegistry()
	w := everything(t, reg)
	w.furnish()
	require.Eventually(t, func() bool { return w.isQuiet(300 * time.Millisecond) }, 30*time.Second, time.Millisecond)
	before := w.revision()
	g := newHostile(rand.New(rand.NewPCG(seed, 1)), w.r)
	senders := []*http.Client{w.sender(true), w.sender(false)}
	total := hostileRequests / slow
	jobs := make(chan hostile)
	var mu sync.Mutex
	counts, kindsSeen, faults := map[int]int{}, map[string]int{}, map[string][]string{}
	longest := map[string]time.Duration{}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for h := range jobs {
				begin := time.Now()
				sender := senders[i%2]
				if h.old {
					sender = senders[1]
				}
				code, fault := w.send(t.Context(), sender, &h)
				took := time.Since(begin)
				mu.Lock()
				longest[h.kind] = max(longest[h.kind], took)
				counts[code]++
				kindsSeen[h.kind]++
				if fault != "" {
					faults[h.kind] = append(faults[h.kind], fault+"\n"+h.String())
				}
				mu.Unlock()
			}
		})
	}
	warm, grown := uint64(0), uint64(0)
	for i := range total {
		if i == total/5 {
			warm = heap()
		}
		jobs <- g.next(i)
	}
	close(jobs)
	wg.Wait()
	grown = heap()
	t.Logf("%d requests of %d kinds; by code: %v", total, len(kindsSeen), counts)
	t.Logf("longest: %v", longest)
	t.Logf("heap after a fifth %d KiB, after all %d KiB", warm>>10, grown>>10)
	for kind, list := range faults {
		slices.Sort(list)
		list = slices.Compact(list)
		t.Errorf("%s: %d different of %d, as:\n%s", kind, len(list), kindsSeen[kind], strings.Join(list[:min(len(list), 12)], "\n\n"))
	}
	require.Equal(t, before, w.revision(), "nothing was stored")
	require.Less(t, grown, warm+32<<20, "memory is flat")
	require.Zero(t, counter(t, reg, "apiserver_request_panics_total"))
}

// isQuiet says whether nothing is written for a while.
func (w *world) isQuiet(d time.Duration) bool {
	rev := w.revision()
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	defer cancel()
	return w.db.WaitFor(ctx, rev+1) != nil
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func counter(t testing.TB, reg *prometheus.Registry, name string) (n float64) {
	t.Helper()
	all, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range all {
		if f.GetName() == name {
			for _, m := range f.Metric {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}
