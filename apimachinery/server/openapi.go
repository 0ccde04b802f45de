package server

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/openapi"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

const openapiRoot = "/openapi/v3"

// schemas are the OpenAPI documents: each is made when first asked for, and made anew when the registry changes.
type schemas struct {
	mu      sync.Mutex
	version uint64
	made    map[string]schemaDocument
	index   []byte
}

type schemaDocument struct {
	body []byte
	hash string
}

func (s *Server) openapi(w http.ResponseWriter, hr *http.Request, path string) {
	path = strings.TrimSuffix(path, "/")
	switch {
	case path == "/openapi/v2":
		_ = wire.WriteResponse(w, hr, &apimachinery.Response{ContentType: openapi.V2MediaType, Body: openapi.V2()})
		return
	case path == openapiRoot:
		body, err := s.schemaIndex()
		if err != nil {
			s.refuse(w, hr, err)
			return
		}
		_ = wire.WriteResponse(w, hr, &apimachinery.Response{Body: body})
		return
	}
	below, ok := strings.CutPrefix(path, openapiRoot+"/")
	if !ok {
		s.refuse(w, hr, wire.NotFound())
		return
	}
	d, err := s.schemaDocument(below)
	if err != nil {
		s.refuse(w, hr, err)
		return
	}
	etag := `"` + strings.ToUpper(d.hash) + `"`
	w.Header().Set("ETag", etag)
	w.Header().Set("Vary", "Accept")
	if hr.URL.Query().Get("hash") == d.hash {
		w.Header().Set("Cache-Control", "public, immutable, max-age=31536000")
	}
	if hr.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_ = wire.WriteResponse(w, hr, &apimachinery.Response{Body: d.body})
}

// schemaIndex names every document with its hash, for which all have to be made once.
func (s *Server) schemaIndex() ([]byte, error) {
	s.specs.mu.Lock()
	defer s.specs.mu.Unlock()
	s.specs.renew(s.c.Registry)
	if s.specs.index != nil {
		return s.specs.index, nil
	}
	hashes := map[string]string{}
	for gv := range s.groupVersions() {
		d, err := s.makeSchema(gv)
		if err != nil {
			return nil, err
		}
		hashes[openapi.Path(gv)] = d.hash
	}
	var err error
	s.specs.index, err = openapi.Index(hashes)
	return s.specs.index, err
}

func (s *Server) schemaDocument(path string) (schemaDocument, error) {
	s.specs.mu.Lock()
	defer s.specs.mu.Unlock()
	s.specs.renew(s.c.Registry)
	for gv := range s.groupVersions() {
		if openapi.Path(gv) == path {
			return s.makeSchema(gv)
		}
	}
	return schemaDocument{}, wire.NotFound()
}

func (d *schemas) renew(r *apimachinery.Registry) {
	if v, _ := r.Version(); d.made == nil || v != d.version {
		d.version, d.made, d.index = v, map[string]schemaDocument{}, nil
	}
}

func (s *Server) groupVersions() map[schema.GroupVersion]bool {
	out := map[schema.GroupVersion]bool{}
	for _, res := range s.c.Registry.All() {
		for i := range res.Views {
			if !res.Views[i].Unserved {
				out[res.Views[i].GroupVersion()] = true
			}
		}
	}
	return out
}

// makeSchema makes a document, once. The caller holds the lock.
func (s *Server) makeSchema(gv schema.GroupVersion) (schemaDocument, error) {
	if d, ok := s.specs.made[gv.String()]; ok {
		return d, nil
	}
	var list []openapi.Resource
	for _, res := range s.c.Registry.All() {
		for i := range res.Views {
			if v := &res.Views[i]; v.GroupVersion() == gv && !v.Unserved && v.Schema == nil {
				list = append(list, described(apimachinery.Found{Resource: res, View: v}))
			}
		}
	}
	body, err := openapi.Document(gv, list)
	if err != nil {
		return schemaDocument{}, err
	}
	d := schemaDocument{body: body, hash: openapi.Hash(body)}
	s.specs.made[gv.String()] = d
	return d, nil
}

// described is a resource as its OpenAPI document has it.
func described(f apimachinery.Found) openapi.Resource {
	r := openapi.Resource{
		GroupVersionKind: f.View.GroupVersionKind, Plural: f.View.Plural, Namespaced: f.Resource.Namespaced,
		Sample: f.New(), Verbs: verbsOf(f.Resource),
	}
	for name, sub := range f.Subs() {
		if sub.Connect != "" {
			continue
		}
		x := openapi.Subresource{Name: name, GroupVersionKind: sub.Kind, Verbs: sub.Verbs}
		if sub.New != nil {
			x.Sample = sub.New()
		} else {
			x.GroupVersionKind = f.View.GroupVersionKind
		}
		r.Subresources = append(r.Subresources, x)
	}
	slices.SortFunc(r.Subresources, func(a, b openapi.Subresource) int { return strings.Compare(a.Name, b.Name) })
	return r
}
