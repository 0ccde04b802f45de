package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery/client"
)

// kubectl is an administrator's way to the API: HTTPS from outside.
func kubectl(t *testing.T, user string, groups ...string) *http.Client {
	t.Helper()
	raw, err := shared.api.Kubeconfig(user, groups...)
	require.NoError(t, err)
	var config struct {
		Clusters []struct {
			Cluster struct {
				CA []byte `json:"certificate-authority-data"`
			}
		}
		Users []struct {
			User struct {
				Cert []byte `json:"client-certificate-data"`
				Key  []byte `json:"client-key-data"`
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(raw, &config))
	pair, err := tls.X509KeyPair(config.Users[0].User.Cert, config.Users[0].User.Key)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(config.Clusters[0].Cluster.CA))
	transport := &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 5 * patience} // a long log takes its time
}

func admin(t *testing.T) *http.Client { return kubectl(t, "root", "system:masters") }

// path is that of a subresource of a pod, with a query of "name=value".
func (n *node) path(pod, sub string, query ...string) string {
	q := url.Values{}
	for _, pair := range query {
		name, value, _ := strings.Cut(pair, "=")
		q.Add(name, value)
	}
	return shared.api.URL() + "/api/v1/namespaces/" + n.Node + "/pods/" + pod + "/" + sub + "?" + q.Encode()
}

// logs gets a pod's log from outside.
func (n *node) logs(c *http.Client, pod string, query ...string) (code int, text string) {
	n.Helper()
	res, err := c.Get(n.path(pod, "log", query...))
	require.NoError(n, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(n, err)
	return res.StatusCode, string(b)
}

func TestLogs(t *testing.T) {
	t.Parallel()
	n := start(t)
	c := admin(t)
	n.run("talks", "for i in 1 2 3 4 5; do echo line $i; done; echo oops >&2; sleep 1.1; echo late")
	n.until("talks", over)
	get := func(query ...string) string {
		code, text := n.logs(c, "talks", query...)
		require.Equal(t, http.StatusOK, code, text)
		return text
	}
	all := get()
	require.ElementsMatch(t, strings.Split("line 1\nline 2\nline 3\nline 4\nline 5\noops\nlate\n", "\n"), strings.Split(all, "\n"))
	require.Equal(t, all, get("follow=true"), "following what has ended ends")
	require.Equal(t, "late\n", get("tailLines=1"))
	require.Equal(t, all, get("tailLines=100"))
	require.Empty(t, get("tailLines=0"))
	require.Equal(t, all[:9], get("limitBytes=9"))
	require.Equal(t, "oops\n", get("stream=Stderr"))
	stamped := strings.SplitN(get("timestamps=true", "tailLines=1"), " ", 2)
	require.Equal(t, "late\n", stamped[1])
	require.Equal(t, "late\n", get("sinceTime="+stamped[0]))
	require.Equal(t, all, get("sinceSeconds=3600"))

	code, text := n.logs(c, "talks", "container=other")
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, text, "container other is not valid for pod talks")
	code, _ = n.logs(c, "nobody")
	require.Equal(t, http.StatusNotFound, code)
	code, text = n.logs(c, "talks", "previous=true")
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, text, `previous terminated container \"c\" in pod \"talks\" not found`)
	code, _ = n.logs(c, "talks", "tailLines=-1")
	require.GreaterOrEqual(t, code, 400)
	code, _ = n.logs(kubectl(t, "nobody"), "talks")
	require.Equal(t, http.StatusForbidden, code)

	n.run("waits", "", spec(`{containers: [{name: c, image: "`+shared.registry+`/no/such:v2"}]}`))
	n.until("waits", waiting("ErrImagePull"))
	code, text = n.logs(c, "waits")
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, text, "is waiting to start")
}

func TestPreviousLogs(t *testing.T) {
	t.Parallel()
	n := start(t)
	c := admin(t)
	p := n.run("again", "", spec(`{volumes: [{name: v, emptyDir: {}}], containers: [{name: c, volumeMounts: [{name: v, mountPath: /v}],
		command: [sh, -c, "echo x >>/v/runs; echo run $(wc -l </v/runs); if [ $(wc -l </v/runs) = 2 ]; then trap 'exit 1' TERM; echo up; while :; do sleep 1000 & wait; done; fi; exit 1"]}]}`),
		func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyAlways })
	n.until("again", restarted(1))
	n.says(p, "c", 1, "up\n")
	_, text := n.logs(c, "again")
	require.Equal(t, "run 2\nup\n", text)
	_, text = n.logs(c, "again", "previous=true")
	require.Equal(t, "run 1\n", text)
}

// TestFollow: a log is followed over its rotations to the container's end, and nothing is missing or twice.
func TestFollow(t *testing.T) {
	t.Parallel()
	n := start(t)
	c := admin(t)
	const lines = 160_000 // of 101 bytes: two rotations
	p := n.run("pours", fmt.Sprintf("trap 'go=1' USR1; echo up; while [ -z $go ]; do sleep 0.1; done; awk 'BEGIN { for (i = 1; i <= %d; i++) printf \"%%0100dx\\n\", i }'", lines))
	n.up(p)
	res, err := c.Get(n.path("pours", "log", "follow=true", "tailLines=0"))
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.NoError(t, n.runtime.KillContainer(n.runtime.Containers()[0].Spec.ID, 10))
	s := bufio.NewScanner(res.Body)
	count := 0
	for s.Scan() {
		count++
		require.Equal(t, fmt.Sprintf("%0100dx", count), s.Text())
	}
	require.NoError(t, s.Err())
	require.Equal(t, lines, count)
	require.Equal(t, corev1.PodSucceeded, n.until("pours", over).Status.Phase)
	b, text := n.logs(c, "pours", "tailLines=3")
	require.Equal(t, http.StatusOK, b)
	require.Equal(t, fmt.Sprintf("%0100dx\n%0100dx\n%0100dx\n", lines-2, lines-1, lines), text)
}

// session is an exec or attach as kubectl has it.
type session struct {
	t    testing.TB
	conn *websocket.Conn
	out  map[byte]*bytes.Buffer
	end  *metav1.Status
}

func (n *node) dial(c *http.Client, pod, sub string, query ...string) (*session, *http.Response, error) {
	ctx, cancel := context.WithTimeout(n.Context(), patience)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, n.path(pod, sub, query...), &websocket.DialOptions{HTTPClient: &http.Client{Transport: c.Transport}, Subprotocols: []string{"v5.channel.k8s.io"}})
	if err != nil {
		return nil, res, err
	}
	conn.SetReadLimit(1 << 20)
	n.Cleanup(func() { _ = conn.CloseNow() })
	return &session{n.TB, conn, map[byte]*bytes.Buffer{1: {}, 2: {}}, nil}, res, nil
}

func (n *node) session(c *http.Client, pod, sub string, query ...string) *session {
	n.Helper()
	s, _, err := n.dial(c, pod, sub, query...)
	require.NoError(n, err)
	return s
}

func command(args ...string) []string {
	out := []string{"stdout=true", "stderr=true"}
	for _, a := range args {
		out = append(out, "command="+a)
	}
	return out
}

func (s *session) send(channel byte, text string) {
	s.t.Helper()
	require.NoError(s.t, s.conn.Write(s.t.Context(), websocket.MessageBinary, append([]byte{channel}, text...)))
}

// read takes in a message; false: the session is over.
func (s *session) read() bool {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	_, m, err := s.conn.Read(ctx)
	if websocket.CloseStatus(err) == websocket.StatusNormalClosure {
		return false
	}
	require.NoError(s.t, err)
	if m[0] == 3 {
		s.end = &metav1.Status{}
		require.NoError(s.t, json.Unmarshal(m[1:], s.end))
		return true
	}
	s.out[m[0]].Write(m[1:])
	return true
}

func (s *session) until(text string) {
	s.t.Helper()
	for !strings.Contains(s.out[1].String(), text) {
		require.True(s.t, s.read(), "it ended with %v after %q", s.end, s.out[1])
	}
}

// finish reads to the end and returns the exit code.
func (s *session) finish() string {
	s.t.Helper()
	for s.read() {
	}
	require.NotNil(s.t, s.end)
	if s.end.Status == metav1.StatusSuccess {
		return "0"
	}
	require.NotNil(s.t, s.end.Details, s.end.Message)
	require.Equal(s.t, metav1.StatusReason("NonZeroExitCode"), s.end.Reason)
	return s.end.Details.Causes[0].Message
}

func TestExec(t *testing.T) {
	t.Parallel()
	n := start(t)
	c := admin(t)
	n.run("web", idle)
	n.until("web", ready)

	s := n.session(c, "web", "exec", command("sh", "-c", "echo out; echo err >&2; hostname; exit 42")...)
	require.Equal(t, "42", s.finish())
	require.Equal(t, "out\nweb\n", s.out[1].String())
	require.Equal(t, "err\n", s.out[2].String())
	require.Contains(t, s.end.Message, "exit status 42")

	s = n.session(c, "web", "exec", append(command("cat"), "stdin=true")...)
	s.send(0, "over ")
	s.send(0, "there\n")
	s.until("there\n")
	s.send(255, "\x00") // the end of stdin
	require.Equal(t, "0", s.finish())
	require.Equal(t, "over there\n", s.out[1].String())

	s = n.session(c, "web", "exec", append(command("sh"), "stdin=true", "tty=true")...)
	s.send(4, `{"Width":93,"Height":41}`)
	s.send(0, "stty size; tty\n")
	s.until("41 93")
	s.until("/dev/pts/0")
	s.send(4, `{"Width":20,"Height":10}`)
	s.send(0, "until stty size | grep '10 20'; do sleep 0.05; done; exit 3\n")
	require.Equal(t, "3", s.finish())
	require.Empty(t, s.out[2].String())

	s = n.session(c, "web", "exec", command("dd", "if=/dev/zero", "bs=64k", "count=64")...)
	require.Equal(t, "0", s.finish())
	require.Equal(t, 4<<20, s.out[1].Len())

	s = n.session(c, "web", "exec", command("/no/such")...)
	for s.read() {
	}
	require.Equal(t, metav1.StatusReasonInternalError, s.end.Reason)
	require.Contains(t, s.end.Message, "/no/such")
}

func TestExecRefused(t *testing.T) {
	t.Parallel()
	n := start(t)
	c := admin(t)
	n.run("web", idle)
	n.run("done", "exit 0")
	n.until("web", ready)
	n.until("done", over)
	refused := func(c *http.Client, code int, words, pod, sub string, query ...string) {
		t.Helper()
		_, res, err := n.dial(c, pod, sub, query...)
		require.Error(t, err)
		require.NotNil(t, res, err)
		require.Equal(t, code, res.StatusCode)
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Contains(t, string(b), words)
		var status metav1.Status
		require.NoError(t, json.Unmarshal(b, &status), string(b))
		require.EqualValues(t, code, status.Code)
	}
	refused(c, 400, "does not run", "done", "exec", command("true")...)
	refused(c, 400, "you must specify", "web", "exec", "stdout=true")
	refused(c, 400, "at least 1 of stdin, stdout, stderr", "web", "exec", "command=true")
	refused(c, 400, "container x is not valid", "web", "exec", append(command("true"), "container=x")...)
	refused(c, 404, "nobody", "nobody", "exec", command("true")...)
	refused(c, 400, "does not run", "done", "attach", "stdout=true")

	// Who may only get may not run anything, whatever the method: an upgrade takes the right to create.
	view := kubectl(t, "viewer", n.Node+"-viewers")
	n.allow(n.Node+"-viewers", "get")
	for code := 0; code != 200; code, _ = n.logs(view, "web") {
		require.Contains(t, []int{0, 403}, code) // until the role has come through
	}
	refused(view, 403, "cannot create resource", "web", "exec", command("true")...)
	refused(view, 403, "cannot create resource", "web", "attach", "stdout=true")
	res, err := c.Get(n.path("web", "exec", command("true")...))
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, 400, res.StatusCode, "without an upgrade")
}

// allow lets a group do something with the logs of pods and what runs in them.
func (n *node) allow(group, verb string) {
	n.Helper()
	_, err := client.For[*rbacv1.Role](shared.admin).Create(n.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: n.Node, Name: group},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{verb}, APIGroups: []string{""}, Resources: []string{"pods/log", "pods/exec", "pods/attach"}}},
	})
	require.NoError(n, err)
	_, err = client.For[*rbacv1.RoleBinding](shared.admin).Create(n.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: n.Node, Name: group}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: group},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: group}},
	})
	require.NoError(n, err)
}

func TestAttach(t *testing.T) {
	t.Parallel()
	n := start(t)
	c := admin(t)
	n.run("echo", "", spec(`{containers: [{name: c, stdin: true, stdinOnce: true, command: [sh, -c, "while read line; do echo got $line; done; exit 9"]}]}`))
	n.until("echo", ready)
	s := n.session(c, "echo", "attach", "stdin=true", "stdout=true", "stderr=true")
	s.send(0, "one\n")
	s.until("got one\n")
	s.send(255, "\x00")
	end := n.until("echo", over)
	require.EqualValues(t, 9, status(end, "c").State.Terminated.ExitCode)
	for s.read() {
	}

	n.run("tty", "", spec(`{containers: [{name: c, stdin: true, tty: true, command: [sh]}]}`))
	n.until("tty", ready)
	s = n.session(c, "tty", "attach", "stdin=true", "stdout=true", "tty=true")
	s.send(4, `{"Width":93,"Height":41}`)
	s.send(0, "stty size\n")
	s.until("41 93")
	s.send(0, "exit 0\n")
	require.Equal(t, corev1.PodSucceeded, n.until("tty", over).Status.Phase)
}
