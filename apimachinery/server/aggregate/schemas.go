package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/bedplate/bedplate/apimachinery/callout"
)

const schemaRoot = "/openapi/v3"

func cutSub(name string) (resource, sub string, ok bool) { return strings.Cut(name, "/") }

// findSchemas reads where the OpenAPI v3 documents of the extension are. One that has none is served without.
func (x *extension) findSchemas(ctx context.Context, now *state) {
	r, err := x.question(ctx, schemaRoot, "application/json")
	if err != nil {
		return
	}
	if now.etag != "" {
		r.Header.Set("If-None-Match", now.etag)
	}
	resp, err := x.plain.RoundTrip(r)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return
	}
	var index struct {
		Paths map[string]struct {
			ServerRelativeURL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	if json.NewDecoder(http.MaxBytesReader(nil, resp.Body, maxDocument)).Decode(&index) != nil {
		return
	}
	now.etag, now.schemas = resp.Header.Get("ETag"), map[string]schemaAt{}
	own := strings.TrimPrefix(x.root(), "/")
	if p, ok := index.Paths[own]; ok && strings.HasPrefix(p.ServerRelativeURL, schemaRoot+"/") {
		if at, err := url.Parse(p.ServerRelativeURL); err == nil && at.Host == "" {
			now.schemas[own] = schemaAt{p.ServerRelativeURL, at.Query().Get("hash")}
		}
	}
}

// Schemas are the hashes of the OpenAPI v3 documents that other servers have, by path ("apis/metrics.k8s.io/v1beta1").
// It must not be changed.
func (a *Aggregator) Schemas() map[string]string {
	out := map[string]string{}
	for _, x := range *a.others.Load() {
		if now := x.state.Load(); now != nil {
			for path, s := range now.schemas {
				out[path] = s.hash
			}
		}
	}
	return out
}

// Schema is such a document, JSON, as the other server has it now.
func (a *Aggregator) Schema(ctx context.Context, path string) ([]byte, error) {
	for _, x := range *a.others.Load() {
		now := x.state.Load()
		if now == nil {
			continue
		}
		if s, ok := now.schemas[path]; ok {
			r, err := x.question(ctx, s.url, "application/json")
			if err != nil {
				return nil, err
			}
			client := x.client() // the document's own address may redirect to its newest hash: that is asked for next time
			body, err := callout.Do(client, r, maxDocument)
			if err != nil {
				x.poke()
			}
			return body, err
		}
	}
	return nil, fmt.Errorf("no extension has the document %s", path)
}
