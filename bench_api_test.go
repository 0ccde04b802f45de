//go:build linux

package bedplate_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
)

const (
	applyType = string(types.ApplyYAMLPatchType)
	mergeType = string(types.MergePatchType)
	objects   = 2_000
)

// onePod is of about 2.9 KB as JSON. No scheduler of the control plane takes it, so that a write is one write.
func onePod(name string) *corev1.Pod {
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "default",
			Labels:      map[string]string{"app": "web", "tier": "front", "pod-template-hash": "5d59d67564"},
			Annotations: map[string]string{"example.com/config": strings.Repeat("0123456789abcdef", 38)},
		},
		Spec: corev1.PodSpec{SchedulerName: "bench", NodeSelector: map[string]string{"kubernetes.io/os": "linux"}},
	}
	for i := range 2 {
		c := corev1.Container{
			Name: fmt.Sprintf("c%d", i), Image: "registry.example.com/team/web:v1.2.3", Command: []string{"/bin/web", "--listen=:8080", "--log=json"},
			Ports: []corev1.ContainerPort{{Name: fmt.Sprintf("http%d", i), ContainerPort: int32(8080 + i)}},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi")},
				Limits:   corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("256Mi")},
			},
			VolumeMounts: []corev1.VolumeMount{{Name: "config", MountPath: "/etc/web", ReadOnly: true}, {Name: "data", MountPath: "/var/lib/web"}},
		}
		for j := range 9 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", j), Value: "some value of the usual length"})
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	p.Spec.Volumes = []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "web"}}}},
		{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	return p
}

func podJSON(name string) []byte {
	raw, _ := json.Marshal(onePod(name))
	return raw
}

func podName(i int) string { return fmt.Sprintf("pod-%d", i) }

// verbs are the operations on pod number i, by their names, in the order in which they are to be measured.
type verb struct {
	name string
	do   func(i int) error
}

// overHTTPS are the operations of a client of net/http: what it costs a client is little.
func overHTTPS(b *testing.B, c *http.Client, url string) []verb {
	url += "/api/v1/namespaces/default/pods"
	body := podJSON("NAME")
	named := func(i int) []byte { return bytes.Replace(body, []byte("NAME"), []byte(podName(i)), 1) }
	one := func(i int) string { return url + "/" + podName(i) }
	stored := make([][]byte, objects)
	return []verb{
		{"create", func(i int) error { return send(c, "POST", url, jsonType, named(i)) }},
		{"get", func(i int) error {
			var got bytes.Buffer
			_, err := fetch(c, "GET", one(i), "", nil, &got)
			stored[i] = got.Bytes()
			return err
		}},
		{"update", func(i int) error {
			return send(c, "PUT", one(i), jsonType, bytes.Replace(stored[i], []byte(`"tier":"front"`), []byte(`"tier":"back"`), 1))
		}},
		{"patch", func(i int) error {
			return send(c, "PATCH", one(i), mergeType, fmt.Appendf(nil, `{"metadata":{"labels":{"n":"v%d"}}}`, i))
		}},
		{"apply", func(i int) error {
			return send(c, "PATCH", one(i)+"?fieldManager=applier&force=true", applyType, named(i))
		}},
		{"delete", func(i int) error { return send(c, "DELETE", one(i), "", nil) }},
	}
}

// inProcess are the same operations by the client of this process, with typed objects.
func inProcess(ctx context.Context, plane *bedplate.ControlPlane) []verb {
	pods := client.For[*corev1.Pod](plane.Client())
	one := onePod("")
	named := func(i int) *corev1.Pod {
		p := *one
		p.Name = podName(i)
		return &p
	}
	stored := make([]*corev1.Pod, objects)
	return []verb{
		{"create", func(i int) error { _, err := pods.Create(ctx, named(i)); return err }},
		{"get", func(i int) (err error) { stored[i], err = pods.Get(ctx, "default", podName(i)); return err }},
		{"update", func(i int) error {
			p := stored[i].DeepCopy()
			p.Labels["tier"] = "back"
			_, err := pods.Update(ctx, p)
			return err
		}},
		{"patch", func(i int) error {
			_, err := pods.Patch(ctx, "default", podName(i), types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"n":"v%d"}}}`, i))
			return err
		}},
		{"apply", func(i int) error { _, err := pods.Apply(ctx, named(i), "applier", client.Force()); return err }},
		{"delete", func(i int) error { return pods.Delete(ctx, "default", podName(i)) }},
	}
}

// BenchmarkPod is what the operations on a pod of 2.9 KB cost over HTTPS to a control plane of its own process
// (of which the CPU time is told without the client's), and in process (with the client's), etcd included.
func BenchmarkPod(b *testing.B) {
	b.Run("https", func(b *testing.B) {
		bin := program(b)
		for _, clients := range []int{1, 16, 64} {
			p := launch(b, bin, b.TempDir())
			awaitAccount(b, p.http, p.url)
			for _, v := range overHTTPS(b, p.http, p.url) {
				once(b, fmt.Sprintf("%s-%d", v.name, clients), func(b *testing.B) func(*testing.B) {
					server, own, begin := p.cpu(b), selfCPU(), time.Now()
					all := inParallel(b, clients, objects, v.do)
					took := time.Since(begin)
					server, own = p.cpu(b)-server, selfCPU()-own
					return func(b *testing.B) {
						perOp(b, "server-", server)
						perOp(b, "client-", own)
						b.ReportMetric(objects/took.Seconds(), "op/s")
						lasted(b, "", all)
					}
				})
			}
			p.stop(b, os.Kill)
		}
	})
	b.Run("inprocess", func(b *testing.B) {
		for _, clients := range []int{1, 16} {
			plane, err := bedplate.Start(b.Context(), bedplate.Config{Dir: b.TempDir()})
			require.NoError(b, err)
			k, err := plane.Kubeconfig("admin", "system:masters")
			require.NoError(b, err)
			url, c := connect(b, k)
			awaitAccount(b, c, url)
			c.CloseIdleConnections()
			for _, v := range inProcess(b.Context(), plane) {
				once(b, fmt.Sprintf("%s-%d", v.name, clients), func(b *testing.B) func(*testing.B) { return measured(b, clients, v.do) })
			}
			require.NoError(b, plane.Stop())
		}
	})
	b.Run("floor", func(b *testing.B) {
		for _, clients := range []int{1, 16, 64} {
			once(b, fmt.Sprintf("etcd-create-%d", clients), func(b *testing.B) func(*testing.B) {
				backend, stop := etcd(b)
				defer stop()
				value := bytes.Repeat(podJSON("x"), 3)[:storedSize]
				return measured(b, clients, func(i int) error {
					_, err := backend.Commit(b.Context(), put("pods/default/"+podName(i), value))
					return err
				})
			})
			once(b, fmt.Sprintf("https-echo-%d", clients), func(b *testing.B) func(*testing.B) {
				answer := make([]byte, storedSize)
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = w.Write(answer)
				}))
				s.EnableHTTP2 = true
				s.StartTLS()
				defer s.Close()
				body := podJSON("x")
				return measured(b, clients, func(int) error { return send(s.Client(), "POST", s.URL, jsonType, body) })
			})
		}
	})
}

const storedSize = 6_700 // bytes: of a pod as it is stored and answered, about

func perOp(b *testing.B, whose string, cpu time.Duration) {
	b.ReportMetric(float64(cpu)/float64(time.Microsecond)/objects, whose+"µs-cpu/op")
}

// once runs a benchmark once, however often the framework asks, and reports what it found.
func once(b *testing.B, name string, run func(b *testing.B) (report func(b *testing.B))) {
	var report func(*testing.B)
	b.Run(name, func(b *testing.B) {
		if report == nil {
			report = run(b)
		}
		report(b)
		plain(b)
	})
}

// measured does an operation on each object, in this process alone.
func measured(b *testing.B, clients int, do func(i int) error) (report func(b *testing.B)) {
	runtime.GC()
	own, begin := selfCPU(), time.Now()
	all := inParallel(b, clients, objects, do)
	own, took := selfCPU()-own, time.Since(begin)
	return func(b *testing.B) {
		perOp(b, "", own)
		b.ReportMetric(objects/took.Seconds(), "op/s")
		lasted(b, "", all)
		b.ReportMetric(float64(len(podJSON("pod-0000"))), "B/sent")
	}
}

// BenchmarkList lists 5,000 pods over HTTPS, from a process of its own.
func BenchmarkList(b *testing.B) {
	const pods, lists = 5_000, 200
	p := launch(b, program(b), b.TempDir())
	awaitAccount(b, p.http, p.url)
	create := overHTTPS(b, p.http, p.url)[0].do
	inParallel(b, 16, pods, create)
	server, own := p.cpu(b), selfCPU()
	var size int64
	all := inParallel(b, 1, lists, func(int) (err error) {
		size, err = fetch(p.http, "GET", p.url+"/api/v1/pods", "", nil, io.Discard)
		return err
	})
	b.ReportMetric((p.cpu(b)-server).Seconds()*1000/lists, "server-ms-cpu/op")
	b.ReportMetric((selfCPU()-own).Seconds()*1000/lists, "client-ms-cpu/op")
	b.ReportMetric(float64(size)/1e6, "MB")
	lasted(b, "", all)
	plain(b)
	p.stop(b, os.Kill)
}

// BenchmarkWatch is the time from the create of a pod to its receipt by each of 100 watchers over HTTPS, at 100
// creates a second; the server's CPU time includes the creates.
func BenchmarkWatch(b *testing.B) {
	const watchers, creates, pause = 100, 500, 10 * time.Millisecond
	p := launch(b, program(b), b.TempDir())
	awaitAccount(b, p.http, p.url)
	var sent [creates]time.Time
	received := make([][]time.Duration, watchers)
	var wg sync.WaitGroup
	for w := range watchers {
		resp, err := p.http.Get(p.url + "/api/v1/namespaces/default/pods?watch=1&resourceVersion=0")
		require.NoError(b, err)
		wg.Go(func() {
			defer resp.Body.Close()
			lines := bufio.NewReaderSize(resp.Body, 64<<10)
			for i := range creates {
				if _, err := lines.ReadSlice('\n'); err != nil {
					b.Error(err)
					return
				}
				received[w] = append(received[w], time.Since(sent[i]))
			}
		})
	}
	create := overHTTPS(b, p.http, p.url)[0].do
	server := p.cpu(b)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for i := range creates {
		<-tick.C
		sent[i] = time.Now()
		require.NoError(b, create(i))
	}
	wg.Wait()
	b.ReportMetric(float64(p.cpu(b)-server)/float64(time.Microsecond)/(creates*watchers), "server-µs-cpu/event")
	var all []time.Duration
	for _, r := range received {
		all = append(all, r...)
	}
	lasted(b, "", all)
	plain(b)
	p.stop(b, os.Kill)
}
