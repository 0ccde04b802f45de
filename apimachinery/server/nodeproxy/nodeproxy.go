// Package nodeproxy leads requests for a pod's logs, exec, attach and portforward to the node that runs it, which has the API of
// a kubelet. It makes the connectors that a server.Config takes.
//
// What a client upgrades (a WebSocket, or SPDY for portforward) is passed through byte by byte once the node has agreed to it; a node that
// answers an upgrade with anything else is heard out and the connection closed. Who asks without a WebSocket hears
// what the node has against the request, if anything. Redirects are never followed, and the address is the node's own,
// never one that a client could choose.
package nodeproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
)

// Config says how nodes are reached.
type Config struct {
	// Node reads a node, for its address and port. Required.
	Node func(ctx context.Context, name string) (*corev1.Node, error)
	// TLS holds the client certificate that nodes know us by, and the authority of theirs. Required.
	TLS *tls.Config
	// Dial connects to a node; nil: TCP, within 10 s.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Connectors returns the connectors "pods/log", "pods/exec", "pods/attach" and "pods/portforward".
func Connectors(c Config) (map[string]server.Connector, error) {
	if c.Node == nil || c.TLS == nil {
		return nil, errors.New("lead into nodes: Node and TLS must be set")
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	p := &proxy{c}
	return map[string]server.Connector{
		"pods/log":         server.ConnectorFunc(p.log),
		"pods/exec":        p.upgrade("exec"),
		"pods/attach":      p.upgrade("attach"),
		"pods/portforward": server.ConnectorFunc(p.forward),
	}, nil
}

type proxy struct{ c Config }

// target is where a pod's container is served.
type target struct {
	address string
	name    string // of the node, which its certificate has
	path    string
}

func (p *proxy) target(ctx context.Context, o apimachinery.Object, verb, container string) (target, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return target{}, fmt.Errorf("lead into a node: %T is not a pod", o)
	}
	if container == "" {
		if len(pod.Spec.Containers) != 1 {
			return target{}, apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(names(&pod.Spec), " ")))
		}
		container = pod.Spec.Containers[0].Name
	}
	if !slices.Contains(names(&pod.Spec), container) {
		return target{}, apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", container, pod.Name))
	}
	t, err := p.targetPod(ctx, pod, verb)
	t.path += "/" + url.PathEscape(container)
	return t, err
}

// targetPod is where a pod itself is served.
func (p *proxy) targetPod(ctx context.Context, pod *corev1.Pod, verb string) (target, error) {
	if pod.Spec.NodeName == "" {
		return target{}, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	node, err := p.c.Node(ctx, pod.Spec.NodeName)
	if err != nil {
		return target{}, err
	}
	address, err := addressOf(node)
	if err != nil {
		return target{}, err
	}
	return target{address, node.Name, "/" + verb + "/" + url.PathEscape(pod.Namespace) + "/" + url.PathEscape(pod.Name)}, nil
}

func names(s *corev1.PodSpec) []string {
	var out []string
	for _, c := range slices.Concat(s.Containers, s.InitContainers) {
		out = append(out, c.Name)
	}
	return out
}

// addressOf is the node's internal address and the port of its API. It must be an address, not a name that could
// come to mean another, and not link-local: no node has such a one, and cloud metadata services do. Loopback is a
// node on this machine; as everywhere, only a server with the certificate of that very node is spoken to.
func addressOf(n *corev1.Node) (string, error) {
	port := n.Status.DaemonEndpoints.KubeletEndpoint.Port
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		addr, err := netip.ParseAddr(a.Address)
		if err != nil || addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified() || port == 0 {
			break
		}
		return net.JoinHostPort(addr.String(), strconv.Itoa(int(port))), nil
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("node %s has not said where its API is", n.Name))
}

func (p *proxy) tlsFor(t target) *tls.Config {
	c := p.c.TLS.Clone()
	c.ServerName, c.NextProtos = t.name, []string{"http/1.1"}
	return c
}

// log streams a container's log.
func (p *proxy) log(ctx context.Context, r *apimachinery.Request, o apimachinery.Object) (*apimachinery.Response, error) {
	opts, ok := r.Options.(*corev1.PodLogOptions)
	if !ok {
		opts = &corev1.PodLogOptions{}
	}
	t, err := p.target(ctx, o, "containerLogs", opts.Container)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DialContext: p.c.Dial, TLSClientConfig: p.tlsFor(t), DisableCompression: true, DisableKeepAlives: true}
	target := url.URL{Scheme: "https", Host: t.address, Path: t.path, RawQuery: logQuery(opts).Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	res, err := transport.RoundTrip(req) // follows no redirect
	if err != nil {
		return nil, unreachable(t, err)
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		return nil, refused(t, res)
	}
	return &apimachinery.Response{Code: http.StatusOK, ContentType: "text/plain", Stream: res.Body}, nil
}

func unreachable(t target, err error) error {
	return apierrors.NewInternalError(fmt.Errorf("node %s does not answer: %w", t.name, err))
}

// refused is what a node said instead of doing what it was asked.
func refused(t target, res *http.Response) error {
	const most = 4 << 10
	b, err := io.ReadAll(io.LimitReader(res.Body, most))
	if err != nil {
		return unreachable(t, err)
	}
	text := strings.TrimSpace(string(b))
	switch res.StatusCode {
	case http.StatusBadRequest:
		return apierrors.NewBadRequest(text)
	case http.StatusNotFound:
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound, Message: text,
		}}
	}
	return apierrors.NewInternalError(fmt.Errorf("node %s answered %s: %s", t.name, res.Status, text))
}

func logQuery(o *corev1.PodLogOptions) url.Values {
	q := url.Values{}
	flag := func(name string, set bool) {
		if set {
			q.Set(name, "true")
		}
	}
	number := func(name string, n *int64) {
		if n != nil {
			q.Set(name, strconv.FormatInt(*n, 10))
		}
	}
	flag("follow", o.Follow)
	flag("previous", o.Previous)
	flag("timestamps", o.Timestamps)
	number("tailLines", o.TailLines)
	number("limitBytes", o.LimitBytes)
	number("sinceSeconds", o.SinceSeconds)
	if o.SinceTime != nil {
		q.Set("sinceTime", o.SinceTime.UTC().Format(time.RFC3339))
	}
	if o.Stream != nil {
		q.Set("stream", *o.Stream)
	}
	return q
}
