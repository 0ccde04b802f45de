//go:build linux

package bedplate_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// These benchmarks run a fixed number of operations, so that percentiles mean something. Stores lie on disk, and
// every write is synced. CPU time is that of whole processes, as the kernel counts it.

const starts = 200 // of which percentiles are made

// lasted reports percentiles of durations.
func lasted(b *testing.B, prefix string, all []time.Duration) {
	slices.Sort(all)
	at := func(p float64) float64 { return all[min(len(all)-1, int(p*float64(len(all))))].Seconds() * 1000 }
	b.ReportMetric(at(0.50), prefix+"p50-ms")
	b.ReportMetric(at(0.99), prefix+"p99-ms")
}

// plain drops what means nothing for a loop of the benchmark's own, and tells the processors.
func plain(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "procs")
}

func selfCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// program builds examples/cluster.
func program(b *testing.B) string {
	path := filepath.Join(b.TempDir(), "cluster")
	out, err := exec.Command("go", "build", "-tags", "seccomp", "-o", path, "./examples/cluster").CombinedOutput()
	require.NoError(b, err, string(out))
	return path
}

// process is a control plane of its own process, with a client for it.
type process struct {
	cmd  *exec.Cmd
	http *http.Client
	url  string
}

// launch starts the program on a data folder and returns as soon as its kubeconfig is there.
func launch(b *testing.B, program, dir string) *process {
	file := filepath.Join(b.TempDir(), "kubeconfig")
	p := &process{cmd: exec.Command(program, "-nodes", "0", "-demo=false", "-listen", "127.0.0.1:0", "-data-dir", dir, "-kubeconfig", file)}
	p.cmd.Stderr = os.Stderr
	require.NoError(b, p.cmd.Start())
	const pause, limit = 200 * time.Microsecond, time.Minute
	for begin := time.Now(); ; time.Sleep(pause) {
		raw, err := os.ReadFile(file)
		if err == nil {
			p.url, p.http = connect(b, raw)
			return p
		}
		require.ErrorIs(b, err, fs.ErrNotExist)
		require.Less(b, time.Since(begin), limit, "no kubeconfig came")
	}
}

func (p *process) stop(b *testing.B, how os.Signal) {
	p.http.CloseIdleConnections()
	require.NoError(b, p.cmd.Process.Signal(how))
	if err := p.cmd.Wait(); how != os.Kill {
		require.NoError(b, err)
	}
}

// cpu is the CPU time that the process has taken.
func (p *process) cpu(b *testing.B) time.Duration {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	require.NoError(b, err)
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	const user, system, tick = 11, 12, 10 * time.Millisecond
	u, err := strconv.Atoi(f[user])
	require.NoError(b, err)
	s, err := strconv.Atoi(f[system])
	require.NoError(b, err)
	return time.Duration(u+s) * tick
}

// memory is a field of the process' status, in MB.
func (p *process) memory(b *testing.B, field string) float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(b, err)
	_, rest, ok := strings.Cut(string(raw), "\n"+field+":")
	require.True(b, ok, field)
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(b, err)
	return float64(kb) / 1024
}

// connect makes a client of a kubeconfig.
func connect(b *testing.B, kubeconfig []byte) (url string, c *http.Client) {
	var k struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
				CA     []byte `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
		Users []struct {
			User struct {
				Cert []byte `json:"client-certificate-data"`
				Key  []byte `json:"client-key-data"`
			} `json:"user"`
		} `json:"users"`
	}
	require.NoError(b, yaml.Unmarshal(kubeconfig, &k))
	cert, err := tls.X509KeyPair(k.Users[0].User.Cert, k.Users[0].User.Key)
	require.NoError(b, err)
	pool := x509.NewCertPool()
	require.True(b, pool.AppendCertsFromPEM(k.Clusters[0].Cluster.CA))
	return k.Clusters[0].Cluster.Server, &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}},
	}}
}

// send sends one request and reads its answer to the end.
func send(c *http.Client, method, url, contentType string, body []byte) error {
	_, err := fetch(c, method, url, contentType, body, io.Discard)
	return err
}

func fetch(c *http.Client, method, url, contentType string, body []byte, into io.Writer) (int64, error) {
	q, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	q.Header.Set("Content-Type", contentType)
	resp, err := c.Do(q)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(resp.Body)
		return 0, fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, text)
	}
	return io.Copy(into, resp.Body)
}

const jsonType = "application/json"

func smallConfigMap(name string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q},"data":{"a":"b"}}`, name)
}

// ready returns when the API says that it is and has stored an object.
func (p *process) ready(b *testing.B) {
	require.NoError(b, send(p.http, "GET", p.url+"/readyz", "", nil))
	name := fmt.Sprintf("c%d", time.Now().UnixNano())
	require.NoError(b, send(p.http, "POST", p.url+"/api/v1/namespaces/default/configmaps", jsonType, smallConfigMap(name)))
}

// BenchmarkReady is the time from the start of a process until its /readyz says 200 over TLS, with authorization
// on, and it has created a ConfigMap. Its floors are a process that only prints its usage, and an etcd alone in a
// process that runs already, from its start to its first write.
func BenchmarkReady(b *testing.B) {
	bin := program(b)
	b.Run("fresh", func(b *testing.B) {
		var all []time.Duration
		for range starts {
			dir := b.TempDir()
			begin := time.Now()
			p := launch(b, bin, dir)
			p.ready(b)
			all = append(all, time.Since(begin))
			p.stop(b, os.Kill)
			require.NoError(b, os.RemoveAll(dir))
		}
		lasted(b, "", all)
		plain(b)
	})
	b.Run("restarted", func(b *testing.B) {
		var all []time.Duration
		dir := b.TempDir()
		for i := range starts + 1 {
			begin := time.Now()
			p := launch(b, bin, dir)
			p.ready(b)
			if i > 0 {
				all = append(all, time.Since(begin))
			}
			p.stop(b, syscall.SIGTERM)
		}
		lasted(b, "", all)
		plain(b)
	})
	b.Run("floor/process", func(b *testing.B) {
		var all []time.Duration
		for range starts {
			begin := time.Now()
			var usage *exec.ExitError
			if err := exec.Command(bin, "-h").Run(); err != nil {
				require.ErrorAs(b, err, &usage)
			}
			all = append(all, time.Since(begin))
		}
		lasted(b, "", all)
		plain(b)
	})
	b.Run("floor/etcd", func(b *testing.B) {
		var all []time.Duration
		for range starts {
			begin := time.Now()
			backend, stop := etcd(b)
			_, err := backend.Commit(b.Context(), put("a", []byte("b")))
			require.NoError(b, err)
			all = append(all, time.Since(begin))
			stop()
		}
		lasted(b, "", all)
		plain(b)
	})
}

// etcd runs a fresh store of the kind that a control plane has.
func etcd(b *testing.B) (storage.Backend, func()) {
	e, err := embedded.New(embedded.Config{Dir: b.TempDir(), TickMs: 5, ElectionMs: 25})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	select {
	case <-e.Ready():
	case err := <-ended:
		require.NoError(b, errors.Join(err, errors.New("etcd ended")))
	}
	return e.Backend(), func() { cancel(); require.NoError(b, <-ended) }
}

func put(key string, value []byte) storage.Txn {
	return storage.Txn{If: []storage.Cond{{Key: "/registry/" + key}}, Then: []storage.Op{{Key: "/registry/" + key, Value: value}}}
}

// BenchmarkIdle is the memory of a process with etcd, API server, controllers and scheduler that has nothing to
// do, and the CPU time that it takes meanwhile.
func BenchmarkIdle(b *testing.B) {
	p := launch(b, program(b), b.TempDir())
	p.ready(b)
	const settle, watched = 5 * time.Second, 20 * time.Second
	time.Sleep(settle)
	before := p.cpu(b)
	time.Sleep(watched)
	b.ReportMetric(100*(p.cpu(b)-before).Seconds()/watched.Seconds(), "%-of-a-core")
	b.ReportMetric(p.memory(b, "VmRSS"), "RSS-MB")
	b.ReportMetric(p.memory(b, "RssAnon"), "anonymous-MB")
	plain(b)
	p.stop(b, syscall.SIGTERM)
}

// BenchmarkLiveHeap is what a control plane in a running process adds to the heap that garbage collection leaves.
func BenchmarkLiveHeap(b *testing.B) {
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	before := heap()
	p, err := bedplate.Start(b.Context(), bedplate.Config{Dir: b.TempDir()})
	require.NoError(b, err)
	time.Sleep(time.Second)
	b.ReportMetric(heap()-before, "MB")
	plain(b)
	require.NoError(b, p.Stop())
}

// BenchmarkFirst is what the first client of a fresh server waits for that is made when it is first asked for:
// kubectl explain's documents, and a server-side apply. Client and server are one process: the CPU time is both's.
func BenchmarkFirst(b *testing.B) {
	for _, first := range []struct {
		name string
		do   func(c *http.Client, url string) error
	}{
		{"explain", func(c *http.Client, url string) error {
			return errors.Join(send(c, "GET", url+"/openapi/v3", "", nil), send(c, "GET", url+"/openapi/v3/api/v1", "", nil))
		}},
		{"apply", func(c *http.Client, url string) error {
			return send(c, "PATCH", url+"/api/v1/namespaces/default/pods/web?fieldManager=bench", applyType, podJSON("web"))
		}},
	} {
		b.Run(first.name, func(b *testing.B) {
			var all []time.Duration
			var cpu time.Duration
			for range starts {
				p, err := bedplate.Start(b.Context(), bedplate.Config{Dir: b.TempDir()})
				require.NoError(b, err)
				k, err := p.Kubeconfig("admin", "system:masters")
				require.NoError(b, err)
				url, c := connect(b, k)
				require.NoError(b, send(c, "GET", url+"/readyz", "", nil))
				awaitAccount(b, c, url)
				cpu0, begin := selfCPU(), time.Now()
				require.NoError(b, first.do(c, url))
				all, cpu = append(all, time.Since(begin)), cpu+selfCPU()-cpu0
				c.CloseIdleConnections()
				require.NoError(b, p.Stop())
			}
			lasted(b, "", all)
			b.ReportMetric(cpu.Seconds()*1000/starts, "ms-cpu/op")
			plain(b)
		})
	}
}

// awaitAccount returns when the account that pods of the default namespace run as is there.
func awaitAccount(b *testing.B, c *http.Client, url string) {
	const pause, limit = time.Millisecond, 10 * time.Second
	for begin := time.Now(); send(c, "GET", url+"/api/v1/namespaces/default/serviceaccounts/default", "", nil) != nil; time.Sleep(pause) {
		require.Less(b, time.Since(begin), limit, "no service account came")
	}
}

// inParallel does an operation n times with some clients and reports how long each took.
func inParallel(b *testing.B, clients, n int, op func(i int) error) []time.Duration {
	all := make([]time.Duration, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				begin := time.Now()
				if err := op(i); err != nil {
					b.Error(err)
					return
				}
				all[i] = time.Since(begin)
			}
		})
	}
	wg.Wait()
	return all
}
