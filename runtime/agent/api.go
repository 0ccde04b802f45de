package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/runtime"
)

// api binds the port of the node's API, which has the paths of a kubelet's, and returns what serves it. Callers
// show a client certificate; nobody else is answered.
func (a *Agent) api() (func(context.Context) error, error) {
	listen := a.c.Listen
	if listen == "" {
		listen = net.JoinHostPort(a.c.Addresses[0].String(), "0")
	}
	l, err := a.listenHost(listen)
	if err != nil {
		return nil, fmt.Errorf("serve the node's API: %w: choose another address", err)
	}
	a.port.Store(int32(l.Addr().(*net.TCPAddr).Port))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("GET /pods", a.listPods)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", a.serveLogs)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", a.serveExec)
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", a.serveAttach)
	mux.HandleFunc("/portForward/{namespace}/{pod}", a.serveForward)
	config := a.c.TLS.Clone()
	config.ClientAuth, config.NextProtos = tls.RequireAndVerifyClientCert, []string{"http/1.1"}
	return func(ctx context.Context) error {
		var calls sync.WaitGroup
		s := &http.Server{
			Handler: a.guard(&calls, mux), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
			BaseContext: func(net.Listener) context.Context { return ctx },
			ErrorLog:    slog.NewLogLogger(a.c.Log.Handler(), slog.LevelDebug),
		}
		stop := context.AfterFunc(ctx, func() { _ = s.Close() })
		defer stop()
		defer calls.Wait() // those that were upgraded are not the server's any more
		if err := s.Serve(tls.NewListener(l, config)); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, nil
}

// guard lets only the callers in, and counts them.
func (a *Agent) guard(calls *sync.WaitGroup, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		defer calls.Done()
		name := r.TLS.PeerCertificates[0].Subject.CommonName
		if !slices.Contains(a.c.Callers, name) {
			http.Error(w, fmt.Sprintf("Forbidden (user=%s)", name), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *Agent) listPods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
	a.mu.Lock()
	for _, k := range a.workers {
		list.Items = append(list.Items, *k.newest())
	}
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(list); err != nil {
		a.c.Log.Debug("pods are not told", "err", err)
	}
}

// target is the container that a request names, in its newest run, or the one before.
func (a *Agent) target(r *http.Request, previous bool) (runtime.ContainerStatus, error) {
	pod, name := r.PathValue("pod"), r.PathValue("container")
	none := runtime.ContainerStatus{}
	p := a.podNamed(r.PathValue("namespace"), pod)
	if p == nil {
		return none, apierrors.NewNotFound(corev1.Resource("pods"), pod)
	}
	m := member{}
	var runs []runtime.ContainerStatus
	for _, c := range a.c.Runtime.Containers() {
		if podUID(c.Spec.Labels) == p.UID && c.Spec.Labels[labelContainer] == name {
			runs = append(runs, c)
		}
	}
	m.look(runs)
	if s := statusNamed(p, name); m.exited() && s != nil && s.State.Waiting != nil {
		m.before = m.now // it is waiting to run again: the last run is the one before that
	}
	switch {
	case previous && m.before == nil:
		return none, apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", name, pod))
	case previous:
		return *m.before, nil
	case m.now == nil:
		return none, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", name, pod, waits(p, name)))
	}
	return *m.now, nil
}

// waits says why a container of a pod has not started.
func waits(p *corev1.Pod, name string) string {
	if s := statusNamed(p, name); s != nil && s.State.Waiting != nil {
		switch reason := s.State.Waiting.Reason; reason {
		case "ErrImagePull", "ImagePullBackOff":
			return "trying and failing to pull image"
		default:
			return reason
		}
	}
	return "ContainerCreating"
}

// podNamed is the newest pod of a name; nil: there is none.
func (a *Agent) podNamed(namespace, name string) *corev1.Pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	var newest *corev1.Pod
	for _, w := range a.workers {
		p := w.newest()
		if p.Namespace == namespace && p.Name == name && (newest == nil || newest.CreationTimestamp.Before(&p.CreationTimestamp)) {
			newest = p
		}
	}
	return newest
}

// fail answers with an error as the API does.
func fail(w http.ResponseWriter, err error) {
	var status apierrors.APIStatus
	code := http.StatusInternalServerError
	if errors.As(err, &status) {
		code = int(status.Status().Code)
	}
	http.Error(w, err.Error(), code)
}

func (a *Agent) serveLogs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	opt, err := logOptionsOf(q.Get)
	if err != nil {
		fail(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	c, err := a.target(r, q.Get("previous") == "true")
	if err != nil {
		fail(w, err)
		return
	}
	t, err := a.openTail(c, opt)
	defer t.close()
	if err != nil {
		fail(w, fmt.Errorf("read the log of container %q in pod %q: %w", r.PathValue("container"), r.PathValue("pod"), err))
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	// Somebody who follows a silent container is told that it works.
	if err := http.NewResponseController(w).Flush(); err != nil {
		return // the client has gone
	}
	err = a.copyLog(r.Context(), flushing{w}, c.Spec.ID, t)
	if err != nil && r.Context().Err() == nil {
		a.c.Log.Warn("log is not told to its end", "container", c.Spec.ID, "err", err)
		panic(http.ErrAbortHandler) // so that the client does not take it for whole
	}
}

// flushing sends what is written at once.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(f.w).Flush()
}

func logOptionsOf(get func(string) string) (logOptions, error) {
	o := logOptions{tail: -1, follow: get("follow") == "true", timestamps: get("timestamps") == "true", stream: get("stream")}
	number := func(name string, into *int64) error {
		s := get(name)
		if s == "" {
			return nil
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("%s must be a number of 0 or more, not %q", name, s)
		}
		*into = n
		return nil
	}
	since := int64(0)
	if err := errors.Join(number("tailLines", &o.tail), number("limitBytes", &o.limit), number("sinceSeconds", &since)); err != nil {
		return o, err
	}
	if since > 0 {
		o.since = time.Now().Add(-time.Duration(since) * time.Second)
	}
	if s := get("sinceTime"); s != "" {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return o, fmt.Errorf("sinceTime must be in RFC 3339, not %q", s)
		}
		o.since = t
	}
	if o.stream != "" && o.stream != "All" && o.stream != "Stdout" && o.stream != "Stderr" {
		return o, fmt.Errorf("stream must be All, Stdout or Stderr, not %q", o.stream)
	}
	return o, nil
}
