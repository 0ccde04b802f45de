package wire

import (
	"errors"
	"io"
	"net/http"
	"strings"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/klauspost/compress/gzip"

	"github.com/bedplate/bedplate/apimachinery"
)

// gzipFrom is the size of an answer from which it is compressed, in bytes, for a client that accepts it.
const gzipFrom = 128 << 10

// maxWarnings bounds the warnings of one answer, in bytes; what goes beyond is left out.
const maxWarnings = 4 << 10

// WriteResponse sends a response: code (default 200), content type (default JSON), warnings, body. Bodies and
// lists above 128 KiB are compressed if the client accepts gzip; watches and logs are flushed write by write. A
// Handler takes over the connection. The Stream is closed in any case.
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
	switch {
	case r.Stream == nil:
		return writeBody(w, hr, code, r.Body)
	case isLive(hr):
		return writeLive(w, code, r.Stream)
	}
	return writeStream(w, hr, code, r.Stream)
}

func writeBody(w http.ResponseWriter, hr *http.Request, code int, body []byte) error {
	if len(body) < gzipFrom || !acceptsGzip(hr) {
		w.WriteHeader(code)
		_, err := w.Write(body)
		return err
	}
	return compress(w, code, func(out io.Writer) error {
		_, err := out.Write(body)
		return err
	})
}

// writeStream holds back the first 128 KiB to know whether compression pays.
func writeStream(w http.ResponseWriter, hr *http.Request, code int, s io.Reader) error {
	if !acceptsGzip(hr) {
		w.WriteHeader(code)
		_, err := io.Copy(w, s)
		return err
	}
	head := make([]byte, gzipFrom)
	n, err := io.ReadFull(s, head)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return writeBody(w, hr, code, head[:n])
	case err != nil:
		return err
	}
	return compress(w, code, func(out io.Writer) error {
		if _, err := out.Write(head); err != nil {
			return err
		}
		_, err := io.Copy(out, s)
		return err
	})
}

func compress(w http.ResponseWriter, code int, write func(io.Writer) error) error {
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Add("Vary", "Accept-Encoding")
	w.WriteHeader(code)
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if err := write(z); err != nil {
		return err
	}
	return z.Close()
}

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
