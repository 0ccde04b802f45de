package storage_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// childRole names what this binary does instead of tests when a benchmark has started it.
const childRole = "BEDPLATE_BENCH_CHILD"

func init() {
	run, ok := map[string]func([]string) error{"etcd": etcdChild, "drain": drainChild}[os.Getenv(childRole)]
	if !ok {
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// startChild starts this binary in a role. It ends when the benchmark closes its standard input.
func startChild(b *testing.B, role string, args ...string) *bufio.Reader {
	b.Helper()
	self, err := os.Executable()
	require.NoError(b, err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), childRole+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		in.Close()
		require.NoError(b, cmd.Wait())
	})
	return bufio.NewReader(out)
}

// shortDir is a folder whose path is short enough for a socket.
func shortDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "b")
	require.NoError(b, err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// etcdChild serves an etcd with objects in it, until its standard input ends: folder, number, size.
func etcdChild(args []string) error {
	var n, size int
	if _, err := fmt.Sscan(strings.Join(args[1:], " "), &n, &size); err != nil {
		return err
	}
	s, err := embedded.New(embedded.Config{
		Dir: filepath.Join(args[0], "data"), ClientListen: "unix://" + filepath.Join(args[0], "s"),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-s.Ready()
	if err := fill(ctx, s.Backend(), n, size); err != nil {
		return err
	}
	fmt.Println(s.Endpoint())
	io.Copy(io.Discard, os.Stdin)
	cancel()
	return <-ended
}

// remoteEtcd runs an etcd with n objects in another process and returns a backend over its client.
func remoteEtcd(b *testing.B, n, size int) storage.Backend {
	b.Helper()
	out := startChild(b, "etcd", shortDir(b), fmt.Sprint(n), fmt.Sprint(size))
	endpoint, err := out.ReadString('\n')
	require.NoError(b, err)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{strings.TrimSpace(endpoint)}, Logger: zap.NewNop()})
	require.NoError(b, err)
	b.Cleanup(func() { c.Close() })
	backend, err := etcd.New(c, etcd.Config{})
	require.NoError(b, err)
	return backend
}

// drainChild reads lists of a given size from a socket: socket, bytes. It answers the first with the sum of
// what it got and each further one with a byte.
func drainChild(args []string) error {
	var size int
	if _, err := fmt.Sscan(args[1], &size); err != nil {
		return err
	}
	conn, err := net.Dial("unix", args[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	sum, buf := sha256.New(), make([]byte, 1<<20)
	if _, err := io.CopyBuffer(sum, io.LimitReader(onlyReader{conn}, int64(size)), buf); err != nil {
		return err
	}
	for answer := sum.Sum(nil); ; answer = buf[:1] {
		if _, err := conn.Write(answer); err != nil {
			return err
		}
		for left := size; left > 0; {
			n, err := conn.Read(buf[:min(left, len(buf))])
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			left -= n
		}
	}
}

type onlyReader struct{ io.Reader }

// drain starts a process that drains lists of so many bytes and returns the connection to it.
func drain(b *testing.B, size int) *net.UnixConn {
	b.Helper()
	socket := filepath.Join(shortDir(b), "s")
	l, err := net.Listen("unix", socket)
	require.NoError(b, err)
	defer l.Close()
	startChild(b, "drain", socket, fmt.Sprint(size))
	conn, err := l.Accept()
	require.NoError(b, err)
	b.Cleanup(func() { conn.Close() })
	return conn.(*net.UnixConn)
}
