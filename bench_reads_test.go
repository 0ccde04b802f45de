//go:build linux

package bedplate_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	listed    = 20_000 // pods in the big lists
	rareEvery = 100    // of how many pods one has the label that is looked for
	protoType = "application/vnd.kubernetes.protobuf"
)

// seed creates the pods of the big lists, one of a hundred with the label rare=yes.
func seed(b *testing.B, p *process, n int) {
	url := p.url + "/api/v1/namespaces/default/pods"
	body := podJSON("NAME")
	rare := bytes.Replace(body, []byte(`"tier":"front"`), []byte(`"rare":"yes"`), 1)
	inParallel(b, 16, n, func(i int) error {
		of := body
		if i%rareEvery == 0 {
			of = rare
		}
		return send(p.http, "POST", url, jsonType, bytes.Replace(of, []byte("NAME"), []byte(podName(i)), 1))
	})
}

// reading is what one way of reading costs: time to the last byte, CPU of the server and of this process, bytes.
func reading(b *testing.B, p *process, name string, times int, read func() (int64, error)) {
	once(b, name, func(b *testing.B) func(*testing.B) {
		var size int64
		var all []time.Duration
		server, own := p.cpu(b), selfCPU()
		for range times {
			begin := time.Now()
			n, err := read()
			require.NoError(b, err)
			all, size = append(all, time.Since(begin)), n
		}
		server, own = p.cpu(b)-server, selfCPU()-own
		return func(b *testing.B) {
			lasted(b, "", all)
			b.ReportMetric(server.Seconds()*1000/float64(times), "server-ms-cpu/op")
			b.ReportMetric(own.Seconds()*1000/float64(times), "client-ms-cpu/op")
			b.ReportMetric(float64(size)/1e6, "MB")
			b.ReportMetric(p.memory(b, "VmHWM"), "peak-MB")
			b.ReportMetric(p.memory(b, "RssAnon"), "anonymous-MB")
		}
	})
}

// take reads an answer to its end in large reads, as a client would that has a use for all of it.
func take(c *http.Client, url, accept string, headers ...string) (int64, error) {
	return takeInto(c, url, accept, io.Discard, headers...)
}

func takeInto(c *http.Client, url, accept string, into io.Writer, headers ...string) (int64, error) {
	q, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return 0, err
	}
	q.Header.Set("Accept", accept)
	for i := 0; i+1 < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(q)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return 0, fmt.Errorf("%s: %s: %s", url, resp.Status, text)
	}
	return io.CopyBuffer(struct{ io.Writer }{into}, struct{ io.Reader }{resp.Body}, make([]byte, 256<<10))
}

// pages lists in pages of 500.
func pages(c *http.Client, base string) (total int64, err error) {
	next := ""
	var page bytes.Buffer
	for {
		page.Reset()
		n, err := takeInto(c, base+"?limit=500&continue="+url.QueryEscape(next), jsonType, &page)
		if err != nil {
			return total, err
		}
		total += n
		var head struct {
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
		}
		from := bytes.Index(page.Bytes(), []byte(`"metadata":`)) + len(`"metadata":`)
		if err := json.NewDecoder(bytes.NewReader(page.Bytes()[from:min(from+4096, page.Len())])).Decode(&head.Metadata); err != nil {
			return total, err
		}
		if next = head.Metadata.Continue; next == "" {
			return total, nil
		}
	}
}

// initialEvents reads a watch up to the bookmark that ends its initial events.
func initialEvents(c *http.Client, base string) (total int64, err error) {
	resp, err := c.Get(base + "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	mark := []byte(`"k8s.io/initial-events-end":"true"`)
	buf := make([]byte, 256<<10)
	kept := 0
	for {
		n, err := resp.Body.Read(buf[kept:])
		total += int64(n)
		if bytes.Contains(buf[:kept+n], mark) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		tail := min(kept+n, len(mark))
		copy(buf, buf[kept+n-tail:kept+n])
		kept = tail
	}
}

// raw is the client without compression, which Go's client else asks for by itself.
func raw(c *http.Client) *http.Client {
	t := c.Transport.(*http.Transport).Clone()
	t.DisableCompression = true
	return &http.Client{Transport: t}
}

// BenchmarkReads reads 20,000 pods over HTTPS, in every way, from a process of its own. Its floor is a server of
// net/http that has the very bytes in memory and writes them 256 KB at a time.
func BenchmarkReads(b *testing.B) {
	p := launch(b, program(b), b.TempDir())
	awaitAccount(b, p.http, p.url)
	seed(b, p, listed)
	base := p.url + "/api/v1/pods"
	c := raw(p.http)
	reading(b, p, "list", 20, func() (int64, error) { return take(c, base, jsonType) })
	reading(b, p, "pages-500", 10, func() (int64, error) { return pages(c, base) })
	reading(b, p, "watch-list", 10, func() (int64, error) { return initialEvents(c, base) })
	reading(b, p, "label-first", 1, func() (int64, error) { return take(c, base+"?labelSelector=rare%3Dyes", jsonType) })
	reading(b, p, "label", 200, func() (int64, error) { return take(c, base+"?labelSelector=rare%3Dyes", jsonType) })
	reading(b, p, "gzip", 5, func() (int64, error) { return take(c, base, jsonType, "Accept-Encoding", "gzip") })
	reading(b, p, "protobuf-first", 1, func() (int64, error) { return take(c, base, protoType) })
	reading(b, p, "protobuf-again", 20, func() (int64, error) { return take(c, base, protoType) })
	reading(b, p, "metadata", 5, func() (int64, error) {
		return take(c, base, jsonType+";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	})
	reading(b, p, "table", 3, func() (int64, error) { return take(c, base, jsonType+";as=Table;g=meta.k8s.io;v=v1") })
	var list bytes.Buffer
	_, err := takeInto(c, base, jsonType, &list)
	require.NoError(b, err)
	p.stop(b, os.Kill)
	b.Run("floor", func(b *testing.B) {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for body := list.Bytes(); len(body) > 0; {
				n := min(len(body), 256<<10)
				if _, err := w.Write(body[:n]); err != nil {
					return
				}
				body = body[n:]
			}
		}))
		s.EnableHTTP2 = true
		s.StartTLS()
		defer s.Close()
		c := raw(s.Client())
		once(b, "list", func(b *testing.B) func(*testing.B) {
			own := selfCPU()
			all := inParallel(b, 1, 20, func(int) error { _, err := take(c, s.URL, jsonType); return err })
			own = selfCPU() - own
			return func(b *testing.B) {
				lasted(b, "", all)
				b.ReportMetric(own.Seconds()*1000/20, "both-ms-cpu/op")
			}
		})
	})
}

// watchers are open watches that count what they get.
type watchers struct {
	got    atomic.Int64
	reach  atomic.Int64
	full   chan struct{}
	bodies []io.Closer
	wg     sync.WaitGroup
}

// follow opens n watches at url, each of which counts lines.
func follow(b *testing.B, c *http.Client, url string, n int) *watchers {
	w := &watchers{full: make(chan struct{}, 1)}
	for range n {
		resp, err := c.Get(url)
		require.NoError(b, err)
		w.bodies = append(w.bodies, resp.Body)
		w.wg.Go(func() {
			buf := make([]byte, 64<<10)
			for {
				got, err := resp.Body.Read(buf)
				if events := int64(bytes.Count(buf[:got], []byte("\n"))); events > 0 && w.got.Add(events) == w.reach.Load() {
					w.full <- struct{}{}
				}
				if err != nil {
					return
				}
			}
		})
	}
	return w
}

func (w *watchers) close() {
	for _, body := range w.bodies {
		_ = body.Close()
	}
	w.wg.Wait()
}

// BenchmarkFan is what an event costs the server that goes to 100 watchers over HTTPS: at 100 creates a second, of
// which a run without watchers tells what the creates cost alone, and in a burst. The floor is a bare server of
// net/http that sends the same bytes to as many.
func BenchmarkFan(b *testing.B) {
	const fans, steady, burst = 100, 500, 2_000
	run := func(b *testing.B, watching int) (perEvent, perCreate, rate float64) {
		p := launch(b, program(b), b.TempDir())
		defer p.stop(b, os.Kill)
		awaitAccount(b, p.http, p.url)
		c := raw(p.http)
		w := follow(b, c, p.url+"/api/v1/namespaces/default/pods?watch=1&resourceVersion=0", watching)
		defer w.close()
		w.reach.Store(int64(watching * steady))
		create := overHTTPS(b, p.http, p.url)[0].do
		server := p.cpu(b)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for i := range steady {
			<-tick.C
			require.NoError(b, create(i))
		}
		if watching > 0 {
			<-w.full
		}
		cpu := p.cpu(b) - server
		perCreate = float64(cpu.Microseconds()) / steady
		if watching == 0 {
			return 0, perCreate, 0
		}
		perEvent = perCreate / float64(watching)
		w.reach.Store(int64(watching * (steady + burst)))
		begin := time.Now()
		inParallel(b, 16, burst, func(i int) error { return create(steady + i) })
		<-w.full
		return perEvent, perCreate, float64(watching*burst) / time.Since(begin).Seconds()
	}
	once(b, "https", func(b *testing.B) func(*testing.B) {
		_, alone, _ := run(b, 0)
		event, with, rate := run(b, fans)
		return func(b *testing.B) {
			b.ReportMetric(event, "server-µs-cpu/event")
			b.ReportMetric((with-alone)/fans, "server-µs-cpu/event-without-creates")
			b.ReportMetric(alone, "server-µs-cpu/create")
			b.ReportMetric(rate, "events/s-in-a-burst-of-creates")
		}
	})
	once(b, "floor", func(b *testing.B) func(*testing.B) {
		event, with := bareFan(b, fans, steady)
		return func(b *testing.B) {
			b.ReportMetric(event, "both-µs-cpu/event")
			b.ReportMetric(with, "events/s")
		}
	})
}

// bareFan sends events to watchers from this process: 100 a second, then as fast as they are taken.
func bareFan(b *testing.B, fans, events int) (cpu, rate float64) {
	line := []byte(`{"type":"ADDED","object":"` + strings.Repeat("x", storedSize) + "\"}\n")
	feeds := make([]chan int, fans)
	for i := range feeds {
		feeds[i] = make(chan int, 1)
	}
	var next atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		feed, out := feeds[next.Add(1)-1], http.NewResponseController(w)
		_ = out.Flush()
		for n := range feed {
			if _, err := w.Write(bytes.Repeat(line, n)); err != nil || out.Flush() != nil {
				return
			}
		}
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	w := follow(b, raw(s.Client()), s.URL, fans)
	w.reach.Store(int64(fans * events))
	own := selfCPU()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range events {
		<-tick.C
		for _, f := range feeds {
			f <- 1
		}
	}
	<-w.full
	cpu = float64((selfCPU() - own).Microseconds()) / float64(fans*events)
	const at, rounds = 16, 100
	w.reach.Add(int64(fans * at * rounds))
	begin := time.Now()
	for range rounds {
		for _, f := range feeds {
			f <- at
		}
	}
	<-w.full
	rate = float64(fans*at*rounds) / time.Since(begin).Seconds()
	for _, f := range feeds {
		close(f)
	}
	w.close()
	return cpu, rate
}

// BenchmarkConfigMaps is the memory that 20,000 ConfigMaps of 1 KB take, etcd included.
func BenchmarkConfigMaps(b *testing.B) {
	const n = 20_000
	once(b, "held", func(b *testing.B) func(*testing.B) {
		p := launch(b, program(b), b.TempDir())
		p.ready(b)
		before := p.memory(b, "RssAnon")
		url := p.url + "/api/v1/namespaces/default/configmaps"
		value := strings.Repeat("0123456789abcdef", 56)
		inParallel(b, 16, n, func(i int) error {
			return send(p.http, "POST", url, jsonType, fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c%d"},"data":{"v":%q}}`, i, value))
		})
		at := p.memory(b, "RssAnon")
		const settle = 10 * time.Second
		time.Sleep(settle)
		after, file := p.memory(b, "RssAnon"), p.memory(b, "RssFile")
		p.stop(b, os.Kill)
		return func(b *testing.B) {
			b.ReportMetric((after-before)*1024/n, "KB-each")
			b.ReportMetric((at-before)*1024/n, "KB-each-at-once")
			b.ReportMetric(file, "file-MB")
		}
	})
}
