package interop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// forward speaks through kubectl port-forward to what listens on a pod's loopback alone: over a WebSocket, over bare
// SPDY, many at once, a lot at a time, and to a port at which nobody listens.
func forward(t *testing.T, c *cluster, image string) {
	k := newKubectl(t, c.admin(t))
	do := func(command string) {
		t.Helper()
		out, err := k.shell(t.Context(), command, "")
		require.NoError(t, err, out)
	}
	do("kubectl run serves --image=" + image + " -- sh -c 'mkdir /www; echo hello >/www/a; head -c 3000000 /dev/zero >/www/big; busybox nc -ll -p 9000 -e cat & exec busybox httpd -f -p 127.0.0.1:8080 -h /www'")
	do("kubectl wait --for=condition=Ready pod/serves --timeout=60s")
	for _, env := range []string{"true", "false"} {
		t.Run("websockets="+env, func(t *testing.T) {
			lines, stop := k.lines(t, "env KUBECTL_PORT_FORWARD_WEBSOCKETS="+env+" kubectl port-forward pod/serves :8080 :9000 :9")
			defer stop()
			address := func(port string) string {
				line := next(t, lines, "Forwarding from 127.0.0.1:... -> "+port)
				return strings.Fields(line)[2]
			}
			web, echo, none := address("8080"), address("9000"), address("9")
			web = "http://" + web + "/"
			client := &http.Client{Timeout: time.Minute}
			require.Eventually(t, func() bool { b, err := get(t.Context(), client, web+"a"); return err == nil && b == "hello\n" }, time.Minute, 10*time.Millisecond, "the programs start")
			var all sync.WaitGroup
			errs := make(chan error, 20)
			for range cap(errs) {
				all.Go(func() {
					b, err := get(t.Context(), client, web+"big")
					if err == nil && len(b) != 3000000 {
						err = fmt.Errorf("%d bytes", len(b))
					}
					errs <- err
				})
			}
			all.Wait()
			for range cap(errs) {
				require.NoError(t, <-errs)
			}
			conn, err := net.Dial("tcp", echo)
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
			_, err = io.WriteString(conn, "to and fro\n")
			require.NoError(t, err)
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			var back bytes.Buffer
			_, err = io.Copy(&back, conn)
			require.NoError(t, err)
			require.Equal(t, "to and fro\n", back.String())
			conn, err = net.Dial("tcp", none)
			require.NoError(t, err)
			require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
			n, _ := io.Copy(io.Discard, conn) // refused or ended
			require.Zero(t, n)
			conn.Close()
		})
	}
	do("kubectl delete pod serves --now")
}

func get(ctx context.Context, c *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}
