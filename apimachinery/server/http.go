package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// Handler is the server's HTTP side, for those who serve it themselves.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serveHTTP) }

// httpServer makes the HTTP server with its limits.
func (s *Server) httpServer() *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(s.c.TLS != nil)
	h := &http.Server{
		Handler: s.Handler(), Protocols: &protocols,
		ReadHeaderTimeout: 32 * time.Second, IdleTimeout: 90 * time.Second,
		MaxHeaderBytes: s.c.Limits.Header,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: s.c.Limits.Streams, MaxReadFrameSize: 1 << 14,
			MaxReceiveBufferPerConnection: 1 << 20, MaxReceiveBufferPerStream: 256 << 10,
			SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: time.Minute,
		},
		ErrorLog: slog.NewLogLogger(s.c.Log.Handler(), slog.LevelDebug),
	}
	if s.c.TLS != nil {
		h.TLSConfig = s.c.TLS.Clone()
		h.TLSConfig.MinVersion = max(h.TLSConfig.MinVersion, tls.VersionTLS12)
	}
	return h
}

// serveListener serves until the server is shut down; that is no error.
func (s *Server) serveListener(h *http.Server, l net.Listener) error {
	var err error
	if s.c.TLS == nil {
		err = h.Serve(l)
	} else {
		err = h.ServeTLS(l, "", "")
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// serveHTTP is the outermost layer: what goes wrong here becomes a Status, never the end of the process.
func (s *Server) serveHTTP(w http.ResponseWriter, hr *http.Request) {
	w, hr, told := s.recorded(w, hr)
	defer func() {
		p := recover()
		if p == nil || p == http.ErrAbortHandler {
			told.end()
		}
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		told.panicked(p)
		s.metrics.panicked()
		s.c.Log.Error("HTTP handler panicked", "path", hr.URL.Path, "panic", p, "stack", string(debug.Stack()))
		_ = wire.WriteError(w, hr, apierrors.NewInternalError(errors.New("the request ended in a panic")))
	}()
	r, path, user, err := s.admitted(hr, told)
	w, hr, span := s.traced(w, hr, r, &user)
	defer span.end()
	switch {
	case err != nil:
		s.refuse(w, hr, err)
	case s.proxied(w, hr, r, path, user):
	case r == nil:
		s.servePath(w, hr, path, user)
	default:
		r.User = user
		s.serveResource(w, hr, r)
	}
}

// admitted reads a request's head: what it wants, who sent it, and whom it wants to be taken for.
func (s *Server) admitted(hr *http.Request, told *record) (r *apimachinery.Request, path string, user apimachinery.User, err error) {
	if r, path, err = wire.Parse(hr); err != nil {
		return nil, "", user, errors.Join(told.received(nil, hr.Method, path, user), err)
	}
	if user, err = s.authenticate(hr); err != nil {
		told.unauthenticated(hr, r, path)
		return nil, "", user, err
	}
	if told != nil {
		told.long = r != nil && s.isLong(r)
	}
	if err = told.received(r, hr.Method, path, user); err != nil {
		return nil, "", user, err
	}
	as, err := s.impersonate(hr, user)
	if err != nil {
		return nil, "", user, err
	}
	if as != nil {
		told.impersonating(as)
		user = *as
	}
	return r, path, user, nil
}

func (s *Server) refuse(w http.ResponseWriter, hr *http.Request, err error) {
	recordOf(hr.Context()).refused(err)
	_ = wire.WriteError(w, hr, err) // nobody is left to tell if that fails
}

const (
	anonymous       = "system:anonymous"
	unauthenticated = "system:unauthenticated"
	authenticated   = "system:authenticated"
)

func (s *Server) authenticate(hr *http.Request) (apimachinery.User, error) {
	nobody := apimachinery.User{Name: anonymous, Groups: []string{unauthenticated}}
	if s.c.Authenticator == nil {
		return nobody, nil
	}
	start := time.Now()
	u, ok, err := s.c.Authenticator.Authenticate(hr)
	s.metrics.authentication(&u, ok, err, start)
	if err != nil {
		s.c.Log.Debug("authentication refused", "source", hr.RemoteAddr, "err", err)
		return u, apierrors.NewUnauthorized("Unauthorized")
	}
	if !ok {
		return nobody, nil
	}
	if u.Name != anonymous && !slices.Contains(u.Groups, authenticated) {
		u.Groups = append(slices.Clip(u.Groups), authenticated)
	}
	return u, nil
}

// serveResource reads the body and hands the request to the pipeline.
func (s *Server) serveResource(w http.ResponseWriter, hr *http.Request, r *apimachinery.Request) {
	ctx := hr.Context()
	if !s.isLong(r) {
		if hr.ProtoMajor == 2 && s.c.Limits.Goaway > 0 && rand.Float64() < s.c.Limits.Goaway {
			w.Header().Set("Connection", "close") // to HTTP/2 it is a GOAWAY; what is under way goes on
		}
		var cancel context.CancelFunc
		limit, err := s.timeout(hr)
		if err != nil {
			s.refuse(w, hr, err)
			return
		}
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	if err := s.readBody(w, hr, r); err != nil {
		s.refuse(w, hr, err)
		return
	}
	if s.fair != nil {
		ctx = context.WithValue(ctx, headerKey{}, w.Header())
	}
	resp, err := s.serve(ctx, r)
	if err != nil {
		if errors.Is(hr.Context().Err(), context.Canceled) {
			panic(http.ErrAbortHandler) // the client has gone
		}
		s.refuse(w, hr, err)
		return
	}
	if resp.Handler == nil && !s.isLong(r) {
		// An answer that nobody takes is cut off. The connection's next answer has a time of its own.
		control := http.NewResponseController(w)
		if control.SetWriteDeadline(time.Now().Add(s.c.Limits.Timeout)) == nil {
			defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
		}
	}
	_, end := s.step(hr.Context(), "SerializeObject")
	defer end()
	if err := wire.WriteResponse(w, hr, resp); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// timeout is how long a request may take: what it asks for, up to the limit, which it also gets for nothing or zero.
func (s *Server) timeout(hr *http.Request) (time.Duration, error) {
	if !strings.Contains(hr.URL.RawQuery, "timeout=") {
		return s.c.Limits.Timeout, nil
	}
	text := hr.URL.Query().Get("timeout")
	if text == "" {
		return s.c.Limits.Timeout, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, apierrors.NewBadRequest("invalid timeout specified in the request URL: " + err.Error())
	}
	if d <= 0 || d > s.c.Limits.Timeout {
		d = s.c.Limits.Timeout
	}
	return d, nil
}

// isLong says whether a request may outlast the time limit: a watch, or a connection, which also reads its own body.
func (s *Server) isLong(r *apimachinery.Request) bool {
	if r.Verb == apimachinery.VerbWatch {
		return true
	}
	f, ok := s.c.Registry.ForResource(r.Resource)
	return ok && r.Sub != "" && f.Subs()[r.Sub].Connect != ""
}

// readBody reads the body of a write within the limits of size and time. Connections keep theirs.
func (s *Server) readBody(w http.ResponseWriter, hr *http.Request, r *apimachinery.Request) error {
	switch r.Verb {
	case apimachinery.VerbGet, apimachinery.VerbList, apimachinery.VerbWatch:
		return nil
	}
	if s.isLong(r) || hr.Body == nil || hr.Body == http.NoBody {
		return nil
	}
	if enc := hr.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return unsupportedMedia("Content-Encoding: "+enc, "identity")
	}
	control := http.NewResponseController(w)
	timed := control.SetReadDeadline(time.Now().Add(s.c.Limits.Timeout)) == nil
	body, err := readAll(http.MaxBytesReader(w, hr.Body, s.c.Limits.Body), hr.ContentLength)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return s.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close") // the deadline stays: what is left of the body is not waited for
		return genericError(http.StatusRequestTimeout, "the body did not come in time")
	case err != nil:
		return apierrors.NewBadRequest("read the body: " + err.Error())
	}
	if timed {
		if err := control.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
	}
	r.Body = body
	return nil
}

// readAll reads a body into one buffer of its declared size, as far as that can be believed.
func readAll(from io.Reader, size int64) ([]byte, error) {
	buf := make([]byte, 0, min(max(size, 511), 64<<10)+1)
	for {
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, max(len(buf), 512))
		}
	}
}

// impersonate returns whom the request wants to be taken for; nil if nobody. Each part of the identity needs
// the right to impersonate it.
func (s *Server) impersonate(hr *http.Request, user apimachinery.User) (*apimachinery.User, error) {
	as, wanted, err := impersonated(hr.Header)
	if err != nil || !wanted {
		return nil, err
	}
	for _, a := range impersonationAttributes(user, as) {
		if err := s.authorize(hr.Context(), &a); err != nil {
			return nil, err
		}
	}
	if namespace, name, ok := serviceAccount(as.Name); ok && len(as.Groups) == 0 && name != "" {
		as.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace}
	}
	if as.Name != anonymous && !slices.Contains(as.Groups, authenticated) {
		as.Groups = append(as.Groups, authenticated)
	}
	if as.Name == anonymous && !slices.Contains(as.Groups, unauthenticated) {
		as.Groups = append(as.Groups, unauthenticated)
	}
	for k := range hr.Header {
		if strings.HasPrefix(k, "Impersonate-") {
			hr.Header.Del(k)
		}
	}
	return &as, nil
}
