package wire

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/klauspost/compress/gzip"

	"github.com/bedplate/bedplate/apimachinery"
)

// gzipFrom is the size of an answer from which it is compressed, in bytes, for a client that accepts it.
const gzipFrom = 128 << 10

// maxWarnings bounds the warnings of one answer, in bytes; what goes beyond is left out.
const maxWarnings = 4 << 10

// WriteResponse sends a response: code (default 200), content type (default JSON), warnings, body. Bodies and
// lists above 128 KiB are compressed if the client accepts gzip; watches and logs are flushed write by write. JSON is
// indented for clients that ask for it ("pretty=true"), and for curl, wget and browsers. A Handler takes over the
// connection. The Stream is closed in any case.
//
// An error means that the client has got a part only: the caller must then break the connection
// (panic(http.ErrAbortHandler)), or the client could take the part for the whole.
func WriteResponse(w http.ResponseWriter, hr *http.Request, r *apimachinery.Response) error {
	if r.Stream != nil {
		defer r.Stream.Close()
	}
	addWarnings(w.Header(), r.Warnings)
	if r.Handler != nil {
		r.Handler.ServeHTTP(w, hr)
		return nil
	}
	h := w.Header()
	h.Set("Content-Type", orJSON(r.ContentType))
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-cache, private")
	}
	code := r.Code
	if code == 0 {
		code = http.StatusOK
	}
	if r.Stream != nil && isLive(hr) {
		return writeLive(w, code, r.Stream)
	}
	out := answer{w: w, code: code, zip: acceptsGzip(hr)}
	if h.Get("Content-Type") == apimachinery.JSON && isPretty(hr) {
		return out.pretty(r)
	}
	if r.Stream == nil {
		return errors.Join(out.write(r.Body), out.close())
	}
	_, err := io.Copy(&out, r.Stream)
	return errors.Join(err, out.finish(err))
}

// answer writes the head of an answer with its first bytes, when it is known whether compression pays.
type answer struct {
	w    http.ResponseWriter
	code int
	zip  bool // the client would have it compressed
	held []byte
	z    *gzip.Writer
	sent bool
}

// pretty sends JSON for people.
func (a *answer) pretty(r *apimachinery.Response) error {
	x := &indenter{to: a}
	var err error
	if r.Stream == nil {
		_, err = x.Write(r.Body)
	} else {
		_, err = io.Copy(x, r.Stream)
	}
	if err == nil {
		_, err = a.Write([]byte{'\n'})
	}
	return errors.Join(err, a.finish(err))
}

// write sends a whole body.
func (a *answer) write(body []byte) error {
	if a.zip && len(body) >= gzipFrom {
		a.compress()
	}
	a.begin()
	_, err := a.out().Write(body)
	return err
}

// Write implements io.Writer. The first 128 KiB are held back for a client that accepts gzip.
func (a *answer) Write(p []byte) (int, error) {
	switch {
	case a.sent:
	case a.zip && len(a.held)+len(p) < gzipFrom:
		a.held = append(a.held, p...)
		return len(p), nil
	default:
		if a.zip {
			a.compress()
		}
		if err := a.release(); err != nil {
			return 0, err
		}
	}
	return a.out().Write(p)
}

// release sends the head and what was held back.
func (a *answer) release() error {
	a.begin()
	held := a.held
	a.held = nil
	if len(held) == 0 {
		return nil
	}
	_, err := a.out().Write(held)
	return err
}

func (a *answer) begin() {
	if !a.sent {
		a.sent = true
		a.w.WriteHeader(a.code)
	}
}

func (a *answer) out() io.Writer {
	if a.z != nil {
		return a.z
	}
	return a.w
}

func (a *answer) compress() {
	a.w.Header().Set("Content-Encoding", "gzip")
	a.w.Header().Add("Vary", "Accept-Encoding")
	a.z = gzips.Get().(*gzip.Writer)
	a.z.Reset(a.w)
}

// finish ends an answer whose stream ended with err. Of one that broke off nothing is sent that was held back.
func (a *answer) finish(err error) error {
	if err != nil && !a.sent {
		return nil
	}
	return errors.Join(a.release(), a.close())
}

// close ends the compression.
func (a *answer) close() error {
	if a.z == nil {
		return nil
	}
	err := a.z.Close()
	a.z.Reset(nil)
	gzips.Put(a.z)
	a.z = nil
	return err
}

// gzips are compressors that are used again: each takes about a megabyte. They know nothing of what they were used for.
var gzips = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is right
	return z
}}

func writeLive(w http.ResponseWriter, code int, s io.Reader) error {
	w.WriteHeader(code)
	f := flusher{w, http.NewResponseController(w)}
	if err := f.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_, err := io.Copy(f, s)
	return err
}

// flusher sends every write on at once.
type flusher struct {
	io.Writer
	*http.ResponseController
}

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err != nil {
		return n, err
	}
	if err := f.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return n, err
	}
	return n, nil
}

// isLive says whether an answer grows while it is sent.
func isLive(hr *http.Request) bool {
	return truthy(hr.URL.Query()["watch"]) || strings.HasSuffix(hr.URL.Path, "/log") || strings.Contains(hr.URL.Path, "/watch/")
}

func acceptsGzip(hr *http.Request) bool {
	for _, h := range hr.Header.Values("Accept-Encoding") {
		for clause := range strings.SplitSeq(h, ",") {
			coding, params, _ := strings.Cut(clause, ";")
			if strings.TrimSpace(coding) == "gzip" && strings.ReplaceAll(params, " ", "") != "q=0" {
				return true
			}
		}
	}
	return false
}

// addWarnings adds what a header can carry; a text that it can't is left out.
func addWarnings(h http.Header, texts []string) {
	size := 0
	for _, text := range texts {
		line, err := utilnet.NewWarningHeader(299, "-", text)
		if size += len(line); err == nil && size <= maxWarnings {
			h.Add("Warning", line)
		}
	}
}

// Warnings returns the texts of the Warning headers with code 299; malformed ones are left out.
func Warnings(h http.Header) []string {
	parsed, _ := utilnet.ParseWarningHeaders(h.Values("Warning"))
	var texts []string
	for _, w := range parsed {
		if w.Code == 299 && w.Text != "" {
			texts = append(texts, w.Text)
		}
	}
	return texts
}

// ReadResponse turns an answer into a Response whose Stream is the body, which the caller closes; or into an
// error, and then it has closed the body. Redirections are errors: an API never asks for one.
func ReadResponse(resp *http.Response) (*apimachinery.Response, error) {
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		return nil, ReadError(resp)
	}
	return &apimachinery.Response{
		Code: resp.StatusCode, ContentType: resp.Header.Get("Content-Type"),
		Stream: resp.Body, Warnings: Warnings(resp.Header),
	}, nil
}
