package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wireClient speaks HTTP/2 frame by frame.
type wireClient struct {
	net.Conn
	*http2.Framer
	enc   *hpack.Encoder
	block bytes.Buffer
	host  string
}

// dialFrames opens a connection; proto is what TLS negotiates.
func (w *world) dialFrames(proto string) *wireClient {
	w.t.Helper()
	host := strings.TrimPrefix(w.url, "https://")
	d := tls.Dialer{Config: tlsFrom(w, proto)}
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", host)
	require.NoError(w.t, err)
	require.NoError(w.t, c.SetDeadline(time.Now().Add(30*time.Second)))
	x := &wireClient{Conn: c, host: host}
	x.enc = hpack.NewEncoder(&x.block)
	x.Framer = http2.NewFramer(c, c)
	x.AllowIllegalWrites = true
	return x
}

func tlsFrom(w *world, proto string) *tls.Config {
	c := w.http.Transport.(*http.Transport).TLSClientConfig.Clone()
	c.NextProtos = []string{proto}
	return c
}

// greet begins the connection as a client does.
func (x *wireClient) greet() error {
	if _, err := io.WriteString(x.Conn, http2.ClientPreface); err != nil {
		return err
	}
	return x.WriteSettings()
}

// head encodes a request's header.
func (x *wireClient) head(method, path string, more ...string) []byte {
	x.block.Reset()
	for _, f := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", x.host}, {":path", path}} {
		_ = x.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	for i := 0; i+1 < len(more); i += 2 {
		_ = x.enc.WriteField(hpack.HeaderField{Name: more[i], Value: more[i+1]})
	}
	return bytes.Clone(x.block.Bytes())
}

func (x *wireClient) ask(stream uint32, method, path string, end bool, more ...string) error {
	return x.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: x.head(method, path, more...), EndStream: end, EndHeaders: true})
}

// drain reads until the server closes the connection or has nothing to say for a while; it tells whether it closed.
func (x *wireClient) drain(within time.Duration) (closed bool) {
	_ = x.SetReadDeadline(time.Now().Add(within))
	for {
		f, err := x.ReadFrame()
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return false
		}
		if err != nil {
			return true
		}
		if _, ok := f.(*http2.GoAwayFrame); ok {
			return true
		}
	}
}

// attack is something that no client does. refused says that the server must end the connection.
type attack struct {
	name    string
	refused bool
	do      func(x *wireClient, g *rand.Rand) error
}

func attacks() []attack {
	raw := func(kind, flags byte, stream uint32, payload int) func(*wireClient, *rand.Rand) error {
		return func(x *wireClient, g *rand.Rand) error {
			p := make([]byte, payload)
			for i := range p {
				p[i] = byte(g.Uint32())
			}
			return x.WriteRawFrame(http2.FrameType(kind), http2.Flags(flags), stream, p)
		}
	}
	return []attack{
		{"rapid reset", false, func(x *wireClient, _ *rand.Rand) error {
			for i := range uint32(2000) {
				if err := x.ask(2*i+1, "GET", "/api/v1/configmaps", true); err != nil {
					return err
				}
				if err := x.WriteRSTStream(2*i+1, http2.ErrCodeCancel); err != nil {
					return err
				}
			}
			return nil
		}},
		{"CONTINUATION without end", true, func(x *wireClient, _ *rand.Rand) error {
			if err := x.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: x.head("GET", "/")}); err != nil {
				return err
			}
			for range 5000 {
				x.block.Reset()
				_ = x.enc.WriteField(hpack.HeaderField{Name: "x-flood", Value: strings.Repeat("x", 4000), Sensitive: true})
				if err := x.WriteContinuation(1, false, x.block.Bytes()); err != nil {
					return err
				}
			}
			return nil
		}},
		{"SETTINGS flood", false, func(x *wireClient, _ *rand.Rand) error {
			for range 20_000 {
				if err := x.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}); err != nil {
					return err
				}
			}
			return nil
		}},
		{"PING flood", false, func(x *wireClient, _ *rand.Rand) error {
			for range 20_000 {
				if err := x.WritePing(false, [8]byte{1}); err != nil {
					return err
				}
			}
			return nil
		}},
		{"too many streams", false, func(x *wireClient, _ *rand.Rand) error {
			for i := range uint32(1000) {
				if err := x.ask(2*i+1, "POST", "/api/v1/namespaces/default/configmaps", false, "content-type", "application/json"); err != nil {
					return err
				}
			}
			return nil
		}},
		{"a decompression bomb", false, func(x *wireClient, _ *rand.Rand) error {
			x.block.Reset()
			_ = x.enc.WriteField(hpack.HeaderField{Name: "x-bomb", Value: strings.Repeat("x", 4000)})
			head := x.head("GET", "/")
			for range 3000 {
				head = append(head, 0x80|62) // the newest entry of the table
			}
			return x.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head, EndStream: true, EndHeaders: true})
		}},
		{"windows of nothing", false, func(x *wireClient, _ *rand.Rand) error {
			if err := x.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
				return err
			}
			for i := range uint32(200) {
				if err := x.ask(2*i+1, "GET", "/openapi/v2", true); err != nil {
					return err
				}
			}
			return nil
		}},
		{"a window too large", true, func(x *wireClient, _ *rand.Rand) error {
			return errors.Join(x.WriteWindowUpdate(0, 1<<31-1), x.WriteWindowUpdate(0, 1<<31-1))
		}},
		{"an even stream", true, func(x *wireClient, _ *rand.Rand) error { return x.ask(2, "GET", "/", true) }},
		{"DATA of no stream", true, raw(0, 0, 99, 100)},
		{"HEADERS of nonsense", true, raw(1, 4, 1, 64)},
		{"a frame too large", true, raw(0, 0, 1, 1<<17)},
		{"SETTINGS of a stream", true, raw(4, 0, 3, 6)},
		{"half a setting", true, raw(4, 0, 0, 5)},
		{"PING of seven bytes", true, raw(6, 0, 0, 7)},
		{"RST of an idle stream", true, raw(3, 0, 5, 4)},
		{"CONTINUATION of nothing", true, raw(9, 4, 1, 8)},
		{"PUSH_PROMISE", true, raw(5, 4, 1, 8)},
		{"an unknown frame", false, raw(0x77, 0xff, 1, 30)},
		{"upper case header", false, func(x *wireClient, _ *rand.Rand) error { return x.ask(1, "GET", "/", true, "X-Upper", "y") }},
		{"a header of lines", false, func(x *wireClient, _ *rand.Rand) error { return x.ask(1, "GET", "/", true, "x", "a\r\nb: c") }},
		{"a connection header", false, func(x *wireClient, _ *rand.Rand) error { return x.ask(1, "GET", "/", true, "connection", "close") }},
		{"two paths", false, func(x *wireClient, _ *rand.Rand) error { return x.ask(1, "GET", "/", true, ":path", "/x") }},
		{"no path", false, func(x *wireClient, _ *rand.Rand) error { return x.ask(1, "GET", "", true) }},
		{"a length that lies", false, func(x *wireClient, _ *rand.Rand) error {
			err := x.ask(1, "POST", "/api/v1/namespaces/default/configmaps", false, "content-type", "application/json", "content-length", "5")
			return errors.Join(err, x.WriteData(1, true, []byte(`{"metadata":{"name":"lies"}}`)))
		}},
		{"half a body", false, func(x *wireClient, _ *rand.Rand) error {
			err := x.ask(1, "POST", "/api/v1/namespaces/default/configmaps", false, "content-type", "application/json")
			return errors.Join(err, x.WriteData(1, false, []byte(`{"metadata":{"name":"half"}}`)))
		}},
	}
}

// TestHostileFrames speaks HTTP/2 as no client does: connections end, others don't notice, nothing is stored or kept.
func TestHostileFrames(t *testing.T) {
	seed := hostileSeed(t)
	t.Logf("seed %d", seed)
	reg := prometheus.NewRegistry()
	w := everything(t, reg)
	w.furnish()
	require.Eventually(t, func() bool { return w.isQuiet(300 * time.Millisecond) }, 30*time.Second, time.Millisecond)
	before, g := w.revision(), rand.New(rand.NewPCG(seed, 2))
	heapBefore, routines := heap(), runtime.NumGoroutine()
	for _, a := range attacks() {
		x := w.dialFrames("h2")
		err := x.greet()
		if err == nil {
			err = a.do(x, g) // the server may have had enough before the end
		}
		patience := 200 * time.Millisecond
		if a.refused {
			patience = 30 * time.Second // the end comes at once, but for a busy machine
		}
		closed := x.drain(patience) || err != nil
		_ = x.Close() // the server may have been faster
		if a.refused {
			require.True(t, closed, "%s: the connection goes on", a.name)
		}
		code, _, body := w.ask("GET", mapsPath+"/there", "")
		require.Equal(t, 200, code, "after %s others are served: %s", a.name, body)
	}
	for range 300 / slow { // frames of noise
		x := w.dialFrames("h2")
		if x.greet() == nil {
			for range 1 + g.IntN(8) {
				p := make([]byte, g.IntN(200))
				for i := range p {
					p[i] = byte(g.Uint32())
				}
				if x.WriteRawFrame(http2.FrameType(g.IntN(12)), http2.Flags(g.Uint32()), uint32(g.IntN(6)), p) != nil {
					break
				}
			}
		}
		_ = x.Close()
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= routines+8 }, 60*time.Second, 10*time.Millisecond, "goroutines stay behind")
	require.Equal(t, before, w.revision(), "nothing was stored")
	require.Less(t, heap(), heapBefore+32<<20, "memory is flat")
	require.Zero(t, counter(t, reg, "apiserver_request_panics_total"))
}

// TestHostileLines speaks HTTP/1.1 as no client does: whatever is answered is a 4xx, or nothing.
func TestHostileLines(t *testing.T) {
	w := everything(t, prometheus.NewRegistry())
	w.furnish()
	require.Eventually(t, func() bool { return w.isQuiet(300 * time.Millisecond) }, 30*time.Second, time.Millisecond)
	before := w.revision()
	const post = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	object := `{"metadata":{"name":"smuggled"}}`
	for name, text := range map[string]string{
		"both lengths":       post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nzzzz",
		"two lengths":        post + "Content-Length: 4\r\nContent-Length: 5\r\n\r\n{}  ",
		"a negative length":  post + "Content-Length: -1\r\n\r\n",
		"a bad chunk":        post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
		"a huge chunk":       post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
		"odd encoding":       post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"a space in a name":  post + "X : y\r\nContent-Length: 0\r\n\r\n",
		"a NUL in a header":  post + "X: a\x00b\r\nContent-Length: 0\r\n\r\n",
		"no host":            "GET / HTTP/1.1\r\n\r\n",
		"two hosts":          "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"a bad version":      "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
		"no version":         "GET /\r\n\r\n",
		"not HTTP":           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
		"an empty line":      "\r\n\r\n\r\n\r\nX\r\n\r\n",
		"an absolute path":   "GET http://169.254.169.254/latest HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT":            "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
		"no slash":           "GET api/v1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"a path of controls": "GET /api/\x01\x02 HTTP/1.1\r\nHost: x\r\n\r\n",
		"a bad escape":       "GET /api/v1/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"half a body":        post + "Content-Length: 100\r\n\r\n" + object,
		"h2c":                "GET /api/v1/configmaps/none HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
		"prior knowledge":    http2.ClientPreface,
		"many headers":       "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 40_000) + "\r\n",
		"a long line":        "GET /" + strings.Repeat("x", 200_000) + " HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		x := w.dialFrames("http/1.1")
		_, err := io.WriteString(x.Conn, text)
		if err == nil {
			require.NoError(t, x.Conn.(*tls.Conn).CloseWrite(), name)
		}
		answer, _ := io.ReadAll(io.LimitReader(x.Conn, 1<<20)) // a connection that is cut off has answered
		_ = x.Close()
		if len(answer) > 0 {
			var code int
			_, err := fmt.Sscanf(string(answer), "HTTP/1.%d %d", new(int), &code)
			require.NoError(t, err, "%s: %q", name, answer)
			require.True(t, code >= 400 && code < 500 || code == 505 || code == 501, "%s: %.300s", name, answer)
		}
	}
	require.Equal(t, before, w.revision(), "nothing was stored")
}
