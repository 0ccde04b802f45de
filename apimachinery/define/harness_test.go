package define_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery/apitest"
)

// wireClient speaks HTTP, as those do who don't know the Go types.
type wireClient struct {
	t    *testing.T
	url  string
	http *http.Client
}

func over(t *testing.T, api *apitest.API) *wireClient {
	c, err := rest.HTTPClientFor(api.RESTConfig())
	require.NoError(t, err)
	t.Cleanup(c.CloseIdleConnections)
	return &wireClient{t, api.URL(), c}
}

// answer is what came back.
type answer struct {
	code    int
	body    map[string]any
	text    string
	warning []string
}

// do sends YAML; media is that of the patch, if it is one.
func (w *wireClient) do(method, path, media, body string, header ...string) answer {
	w.t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(body))
	require.NoError(w.t, err)
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, bytes.NewReader(raw))
	require.NoError(w.t, err)
	if media == "" {
		media = "application/json"
	}
	r.Header.Set("Content-Type", media)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := w.http.Do(r)
	require.NoError(w.t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	require.NoError(w.t, resp.Body.Close())
	a := answer{code: resp.StatusCode, text: string(text), warning: resp.Header.Values("Warning")}
	require.NoError(w.t, json.Unmarshal(text, &a.body), a.text)
	return a
}

// at is the value at a path with points.
func (a answer) at(path string) any {
	var v any = a.body
	for step := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[step]
	}
	return v
}

// causes are the fields and reasons of what is wrong.
func (a answer) causes() (out []string) {
	details, _ := a.at("details.causes").([]any)
	for _, c := range details {
		m := c.(map[string]any)
		out = append(out, m["field"].(string)+" "+m["reason"].(string))
	}
	return out
}
