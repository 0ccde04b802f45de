package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bedplate/bedplate/runtime"
)

// mostAnswer bounds what a probe reads of an answer, in bytes.
const mostAnswer = 10 << 10

// exec succeeds if the command exits with 0.
func (w *worker) exec(ctx context.Context, id string, command []string) error {
	out := &limited{left: mostAnswer}
	code, err := w.a.c.Runtime.Exec(ctx, id, runtime.ExecSpec{Args: command, Streams: runtime.Streams{Stdout: out, Stderr: out}})
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("command %q exited with %d: %s", strings.Join(command, " "), code, out.String())
	}
	return nil
}

// limited keeps the beginning of what is written to it.
type limited struct {
	mu sync.Mutex
	bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(p), l.left)
	l.left -= n
	l.Buffer.Write(p[:n])
	return len(p), nil
}

// dial connects to a port of the pod: at its address, or, for a pod that has none, at 127.0.0.1 inside its network
// namespace.
func (w *worker) dial(pod *corev1.Pod) func(ctx context.Context, network, address string) (net.Conn, error) {
	uid := string(pod.UID)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if host != noHost {
			return w.a.dialHost(ctx, network, address)
		}
		s, err := w.a.c.Runtime.Sandbox(sandboxID(uid))
		if err != nil {
			return nil, err
		}
		return dialInside(ctx, s.NetnsPath, net.JoinHostPort("127.0.0.1", port))
	}
}

// noHost stands for the inside of a pod that has no address.
const noHost = "pod.invalid"

func (w *worker) host(pod *corev1.Pod, asked string) string {
	newest := w.newest()
	switch {
	case asked != "":
		return asked
	case pod.Spec.HostNetwork:
		return w.a.c.Addresses[0].String()
	case newest.Status.PodIP != "":
		return newest.Status.PodIP
	}
	return noHost
}

// portOf resolves a port by number or by name.
func portOf(c *corev1.Container, p intstr.IntOrString) (string, error) {
	if p.Type == intstr.Int {
		return strconv.Itoa(p.IntValue()), nil
	}
	for _, have := range c.Ports {
		if have.Name == p.StrVal {
			return strconv.Itoa(int(have.ContainerPort)), nil
		}
	}
	return "", fmt.Errorf("the container has no port named %q", p.StrVal)
}

func (w *worker) tcp(ctx context.Context, pod *corev1.Pod, c *corev1.Container, t *corev1.TCPSocketAction) error {
	port, err := portOf(c, t.Port)
	if err != nil {
		return err
	}
	conn, err := w.dial(pod)(ctx, "tcp", net.JoinHostPort(w.host(pod, t.Host), port))
	if err != nil {
		return err
	}
	return conn.Close()
}

// httpGet succeeds on any answer from 200 to 399. Redirects to other hosts are not followed.
func (w *worker) httpGet(ctx context.Context, pod *corev1.Pod, c *corev1.Container, g *corev1.HTTPGetAction) error {
	req, err := w.httpRequest(ctx, pod, c, g)
	if err != nil {
		return err
	}
	client := http.Client{
		Transport: &http.Transport{
			DialContext: w.dial(pod), DisableKeepAlives: true, MaxResponseHeaderBytes: mostAnswer,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // as kubelets do: a probe has no name to check
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Hostname() != via[0].URL.Hostname() || len(via) >= 10 {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode >= 400 {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", res.StatusCode)
	}
	return nil
}

func (w *worker) httpRequest(ctx context.Context, pod *corev1.Pod, c *corev1.Container, g *corev1.HTTPGetAction) (*http.Request, error) {
	port, err := portOf(c, g.Port)
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(g.Path)
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", g.Path, err)
	}
	target.Scheme, target.Host = strings.ToLower(string(g.Scheme)), net.JoinHostPort(w.host(pod, g.Host), port)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "kube-probe/1.37")
	req.Header.Set("Accept", "*/*")
	for _, h := range g.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			req.Host = h.Value
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	return req, nil
}

// grpc asks grpc.health.v1.Health/Check (the gRPC health checking protocol) and succeeds on SERVING.
func (w *worker) grpc(ctx context.Context, pod *corev1.Pod, g *corev1.GRPCAction) error {
	var service string
	if g.Service != nil {
		service = *g.Service
	}
	var message []byte
	if service != "" {
		message = append(binary.AppendUvarint([]byte{0x0a}, uint64(len(service))), service...)
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	address := net.JoinHostPort(w.host(pod, ""), strconv.Itoa(int(g.Port)))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/grpc.health.v1.Health/Check", bytes.NewReader(append(frame, message...)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	t := &http.Transport{DialContext: w.dial(pod), Protocols: protocols}
	defer t.CloseIdleConnections()
	res, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, mostAnswer))
	if err != nil {
		return err
	}
	if status := cmp.Or(res.Trailer.Get("Grpc-Status"), res.Header.Get("Grpc-Status")); status != "0" {
		return fmt.Errorf("gRPC probe failed with status %s: %s", status, cmp.Or(res.Trailer.Get("Grpc-Message"), res.Header.Get("Grpc-Message")))
	}
	const serving = "\x08\x01"
	if len(body) < 5 || !strings.HasPrefix(string(body[5:]), serving) {
		return errors.New("gRPC probe failed: the service is not serving")
	}
	return nil
}
