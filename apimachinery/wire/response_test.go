package wire_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

func copyAll(w io.Writer, r io.Reader) (int64, error) { return io.Copy(w, r) }

func TestErrorsTravel(t *testing.T) {
	gr := schema.GroupResource{Group: "apps", Resource: "deployments"}
	for _, want := range []*apierrors.StatusError{
		apierrors.NewNotFound(gr, "d"),
		apierrors.NewConflict(gr, "d", errors.New("changed")),
		apierrors.NewTooManyRequests("later", 7),
		apierrors.NewForbidden(gr, "", errors.New("no")),
	} {
		w := httptest.NewRecorder()
		require.NoError(t, wire.WriteError(w, httptest.NewRequest("GET", "/", nil), fmt.Errorf("wrapped: %w", want)))
		require.Equal(t, int(want.ErrStatus.Code), w.Code)
		got := wire.ReadError(w.Result())
		s := want.ErrStatus
		s.Kind, s.APIVersion = "Status", "v1"
		require.Equal(t, &apierrors.StatusError{ErrStatus: s}, got)
	}
	w := httptest.NewRecorder()
	require.NoError(t, wire.WriteError(w, httptest.NewRequest("GET", "/", nil), apierrors.NewTooManyRequests("later", 7)))
	require.Equal(t, "7", w.Header().Get("Retry-After"))
}

func TestStatusOf(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   int32
		reason metav1.StatusReason
	}{
		{errors.New("boom"), 500, metav1.StatusReasonInternalError},
		{&http.MaxBytesError{Limit: 3}, 413, metav1.StatusReasonRequestEntityTooLarge},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), 504, metav1.StatusReasonTimeout},
		{wire.NotFound(), 404, metav1.StatusReasonNotFound},
	} {
		s := wire.StatusOf(c.err)
		require.Equal(t, c.code, s.Code)
		require.Equal(t, c.reason, s.Reason)
		require.Equal(t, metav1.StatusFailure, s.Status)
	}
}

func TestReadErrorWithoutStatus(t *testing.T) {
	resp := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"9"}}, Body: io.NopCloser(strings.NewReader("down"))}
	err := wire.ReadError(resp)
	require.True(t, apierrors.IsServiceUnavailable(err))
	seconds, ok := apierrors.SuggestsClientDelay(err)
	require.True(t, ok)
	require.Equal(t, 9, seconds)
	_, err = wire.ReadResponse(&http.Response{StatusCode: 302, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))})
	require.Error(t, err, "redirections are not followed")
}

func TestWarningsTravel(t *testing.T) {
	w := httptest.NewRecorder()
	texts := []string{`unknown field "spec.foo"`, `back\slash`, "bad\x00text"}
	require.NoError(t, wire.WriteResponse(w, httptest.NewRequest("GET", "/", nil), &apimachinery.Response{Body: []byte("{}"), Warnings: texts}))
	r, err := wire.ReadResponse(w.Result())
	require.NoError(t, err)
	require.Equal(t, texts[:2], r.Warnings)
	require.Equal(t, 200, r.Code)
	require.Equal(t, "application/json", r.ContentType)
}

func TestCompression(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 20<<10)
	for _, c := range []struct {
		name, accept string
		r            apimachinery.Response
		gzipped      bool
	}{
		{"large body", "gzip", apimachinery.Response{Body: big}, true},
		{"large stream", "deflate, gzip;q=1.0", apimachinery.Response{Stream: io.NopCloser(bytes.NewReader(big))}, true},
		{"small stream", "gzip", apimachinery.Response{Stream: io.NopCloser(bytes.NewReader(big[:99]))}, false},
		{"small body", "gzip", apimachinery.Response{Body: big[:99]}, false},
		{"not asked", "", apimachinery.Response{Body: big}, false},
		{"refused", "gzip;q=0", apimachinery.Response{Stream: io.NopCloser(bytes.NewReader(big))}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			hr := httptest.NewRequest("GET", "/api/v1/pods", nil)
			hr.Header.Set("Accept-Encoding", c.accept)
			w := httptest.NewRecorder()
			require.NoError(t, wire.WriteResponse(w, hr, &c.r))
			require.Equal(t, c.gzipped, w.Header().Get("Content-Encoding") == "gzip")
			body := w.Body.Bytes()
			if c.gzipped {
				z, err := gzip.NewReader(w.Body)
				require.NoError(t, err)
				body, err = io.ReadAll(z)
				require.NoError(t, err)
			}
			require.True(t, bytes.HasPrefix(big, body))
		})
	}
}

// TestWatchIsFlushed reads the first event while the stream is still open.
func TestWatchIsFlushed(t *testing.T) {
	in, out := io.Pipe()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		_ = wire.WriteResponse(w, hr, &apimachinery.Response{Stream: in})
	}))
	defer s.Close()
	hr, err := http.NewRequest("GET", s.URL+"/api/v1/pods?watch=true", nil)
	require.NoError(t, err)
	resp, err := s.Client().Do(hr) // headers come before any event
	require.NoError(t, err)
	defer resp.Body.Close()
	go func() { _, _ = out.Write([]byte("event\n")) }()
	buf := make([]byte, 6)
	_, err = io.ReadFull(resp.Body, buf)
	require.NoError(t, err)
	require.Equal(t, "event\n", string(buf))
	require.NoError(t, out.Close())
}

type broken struct{ io.Reader }

func (broken) Close() error { return nil }

func TestBrokenStreamIsAnError(t *testing.T) {
	r := &apimachinery.Response{Stream: broken{io.MultiReader(strings.NewReader("{"), errorReader{})}}
	require.ErrorIs(t, wire.WriteResponse(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/v1/pods", nil), r), io.ErrNoProgress)
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

func TestNegotiate(t *testing.T) {
	table := schema.GroupVersionKind{Group: "meta.k8s.io", Version: "v1", Kind: "Table"}
	for _, c := range []struct {
		accept string
		want   wire.Form
	}{
		{"", wire.Form{Media: "application/json"}},
		{"*/*", wire.Form{Media: "application/json"}},
		{"application/yaml", wire.Form{Media: "application/yaml"}},
		{"application/json;q=0.1, application/yaml;q=0.9", wire.Form{Media: "application/yaml"}},
		{"application/vnd.kubernetes.protobuf,application/json", wire.Form{Media: "application/json"}},
		{"application/json;as=Table;v=v1;g=meta.k8s.io,application/json", wire.Form{Media: "application/json", As: table}},
		{"application/json;as=Table;include=None;v=v1;g=meta.k8s.io,application/json", wire.Form{Media: "application/json", As: table, Include: "None"}},
		{"application/json;as=Table;v=v9;g=meta.k8s.io,application/json", wire.Form{Media: "application/json"}},
		{"*/*, application/yaml", wire.Form{Media: "application/yaml"}},
		{"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io", wire.Form{Media: "application/json", As: table}},
		{"application/cbor,application/json;stream=watch;pretty=1", wire.Form{Media: "application/json", Pretty: true}},
		{"application/json;stream=other,application/yaml", wire.Form{Media: "application/yaml"}},
		{"application/json; charset=utf-8", wire.Form{Media: "application/json"}},
		{"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", wire.Form{Media: "application/vnd.kubernetes.protobuf", As: schema.GroupVersionKind{Group: "meta.k8s.io", Version: "v1", Kind: "PartialObjectMetadataList"}}},
	} {
		got, err := wire.Negotiate(c.accept)
		require.NoError(t, err, c.accept)
		require.Equal(t, c.want, got, c.accept)
	}
	for _, accept := range []string{"application/vnd.kubernetes.protobuf", "text/html", "application/json;as=Foo;v=v1;g=meta.k8s.io", "application/json;q=0"} {
		_, err := wire.Negotiate(accept)
		require.Equal(t, int32(406), wire.StatusOf(err).Code, accept)
		require.Equal(t, "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf", wire.StatusOf(err).Message)
	}
	for accept, media := range map[string]string{
		"application/vnd.kubernetes.protobuf,application/json":       "application/vnd.kubernetes.protobuf",
		"application/json,application/vnd.kubernetes.protobuf":       "application/json",
		"application/json;q=0.5,application/vnd.kubernetes.protobuf": "application/vnd.kubernetes.protobuf",
	} {
		got, err := wire.NegotiateOf(accept, wire.Offer{Protobuf: true, Stream: true})
		require.NoError(t, err)
		require.Equal(t, media, got.Media, accept)
	}
	_, err := wire.NegotiateOf("application/yaml", wire.Offer{Protobuf: true, Stream: true})
	require.Equal(t, "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch", wire.StatusOf(err).Message)
	f, err := wire.NegotiateDiscovery("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer,application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")
	require.NoError(t, err)
	require.Equal(t, "APIGroupDiscoveryList", f.As.Kind)
}

// TestPretty holds the indenter against encoding/json, whatever the pieces are in which it gets its input.
func TestPretty(t *testing.T) {
	const doc = `{"a":{},"b":[],"c":[1,{"d":"x{[\\\",: y"}],"e":null,"f":[[]],"g":[{}],"h":"é"}`
	var want bytes.Buffer
	require.NoError(t, json.Indent(&want, []byte(doc), "", "  "))
	for _, hr := range []*http.Request{
		{URL: &url.URL{RawQuery: "pretty=true"}, Header: http.Header{"User-Agent": {"x"}}},
		{URL: &url.URL{RawQuery: "pretty=1"}, Header: http.Header{}},
		{URL: &url.URL{}, Header: http.Header{"User-Agent": {"curl/8.0"}}},
		{URL: &url.URL{}, Header: http.Header{"Accept": {"application/json;pretty=1"}}},
	} {
		for _, r := range []*apimachinery.Response{
			{Body: []byte(doc)}, {Stream: io.NopCloser(iotest.OneByteReader(strings.NewReader(doc + "\n")))},
		} {
			w := httptest.NewRecorder()
			require.NoError(t, wire.WriteResponse(w, hr, r))
			require.Equal(t, want.String()+"\n", w.Body.String())
		}
	}
	w := httptest.NewRecorder()
	hr := &http.Request{URL: &url.URL{RawQuery: "pretty=false"}, Header: http.Header{"User-Agent": {"curl/8.0"}}}
	require.NoError(t, wire.WriteResponse(w, hr, &apimachinery.Response{Body: []byte(doc)}))
	require.Equal(t, doc, w.Body.String())
}

// TestErrorsInTheMediaTypeAskedFor: a Status is in what the client accepts, and in JSON if that is nothing of ours.
func TestErrorsInTheMediaTypeAskedFor(t *testing.T) {
	for accept, media := range map[string]string{
		"application/vnd.kubernetes.protobuf": apimachinery.Protobuf, "application/yaml": apimachinery.YAML, "text/html": apimachinery.JSON,
		"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json": apimachinery.JSON,
	} {
		hr := httptest.NewRequest("GET", "/", nil)
		hr.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		require.NoError(t, wire.WriteError(w, hr, wire.NotFound()))
		require.Equal(t, media, w.Header().Get("Content-Type"), accept)
		require.Equal(t, 404, w.Code)
	}
}
