package server

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"iter"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/openapi"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// maxSchemas bounds what is kept of OpenAPI documents, compressed, in bytes. What was asked for longest ago is dropped, and made
// anew when it is asked for again.
const maxSchemas = 4 << 20

// schemas are the OpenAPI documents. Of each only the hash is kept, and the document itself, compressed, once it was asked
// for. When the registry changes, the documents of groups stay whose resources are the same.
type schemas struct {
	mu      sync.Mutex
	version uint64
	groups  map[string]*schemaGroup // by path below /openapi/v3
	index   *schemaBody
	v2      [2]*schemaBody // JSON, protobuf
	foreign map[string]string
	clock   uint64 // counts requests, to know what was asked for longest ago
}

// schemaGroup is a document: that of a group and version, or of a listing, which has no resources.
type schemaGroup struct {
	gv        schema.GroupVersion
	resources []*apimachinery.Resource
	hash      string
	kept      *schemaBody
	asked     uint64
}

// schemaBody is a document as it is kept: compressed.
type schemaBody struct {
	body []byte
	hash string
}

func (p *schemaBody) unpack() ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(p.body))
	if err != nil {
		return nil, fmt.Errorf("unpack OpenAPI document: %w", err)
	}
	return io.ReadAll(z)
}

// schemaPacker compresses and hashes what is written into it.
type schemaPacker struct {
	out  bytes.Buffer
	sum  hash.Hash
	pack *gzip.Writer
}

func newSchemaPacker() (*schemaPacker, error) {
	p := &schemaPacker{sum: sha512.New()}
	var err error
	p.pack, err = gzip.NewWriterLevel(&p.out, gzip.BestSpeed)
	return p, err
}

func (p *schemaPacker) Write(b []byte) (int, error) {
	p.sum.Write(b)
	return p.pack.Write(b)
}

func (p *schemaPacker) close() (*schemaBody, error) {
	if err := p.pack.Close(); err != nil {
		return nil, err
	}
	return &schemaBody{slices.Clone(p.out.Bytes()), strings.ToUpper(hex.EncodeToString(p.sum.Sum(nil)))}, nil
}

func packSchema(raw []byte) (*schemaBody, error) {
	p, err := newSchemaPacker()
	if err != nil {
		return nil, err
	}
	if _, err := p.Write(raw); err != nil {
		return nil, err
	}
	return p.close()
}

// schemaIndex names every document with its hash, for which each has to be made once.
func (s *Server) schemaIndex() (*schemaBody, error) {
	s.specs.mu.Lock()
	defer s.specs.mu.Unlock()
	s.renewSchemas()
	if s.specs.index != nil {
		return s.specs.index, nil
	}
	hashes := maps.Clone(s.specs.foreign)
	if hashes == nil {
		hashes = map[string]string{}
	}
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for path, g := range s.specs.groups {
		if g.hash == "" {
			work.Go(func() error { return s.hashSchema(path, g) })
		}
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	for path, g := range s.specs.groups {
		hashes[path] = g.hash
	}
	raw, err := openapi.Index(hashes)
	if err != nil {
		return nil, err
	}
	s.specs.index, err = packSchema(raw)
	return s.specs.index, err
}

// hashSchema settles the hash of a document: that of its content, or, where definitions say what it consists of, of these.
func (s *Server) hashSchema(path string, g *schemaGroup) error {
	if g.hash = s.digest(path, g); g.hash != "" {
		return nil
	}
	raw, err := s.makeSchema(path, g)
	if err != nil {
		return err
	}
	g.hash = openapi.Hash(raw)
	return nil
}

// digest is the hash of a document all of whose kinds have a digest, and of what else makes it what it is.
func (s *Server) digest(path string, g *schemaGroup) string {
	sum := sha512.New()
	fmt.Fprintln(sum, path, s.c.Version.GitVersion, s.c.Version.GitCommit)
	for _, res := range g.resources {
		for i := range res.Views {
			v := &res.Views[i]
			if v.GroupVersion() != g.gv || v.Unserved {
				continue
			}
			if v.Digest == "" {
				return ""
			}
			fmt.Fprintf(sum, "%s %q %v %q\n", v.Plural, v.Digest, res.Namespaced, verbsOf(res))
		}
	}
	if len(g.resources) == 0 {
		return ""
	}
	return strings.ToUpper(hex.EncodeToString(sum.Sum(nil)))
}

// schemaDocument is a document by its path.
func (s *Server) schemaDocument(ctx context.Context, path string) (*schemaBody, error) {
	p, err := s.ownSchema(path)
	if p != nil || err != nil || s.c.Extensions == nil {
		if p == nil && err == nil {
			err = wire.NotFound()
		}
		return p, err
	}
	return s.foreignSchema(ctx, path)
}

func (s *Server) ownSchema(path string) (*schemaBody, error) {
	s.specs.mu.Lock()
	defer s.specs.mu.Unlock()
	s.renewSchemas()
	g := s.specs.groups[path]
	if g == nil {
		return nil, nil
	}
	s.specs.clock++
	g.asked = s.specs.clock
	if g.kept != nil {
		return g.kept, nil
	}
	raw, err := s.makeSchema(path, g)
	if err != nil {
		return nil, err
	}
	if g.kept, err = packSchema(raw); err != nil {
		return nil, err
	}
	if digest := s.digest(path, g); digest != "" {
		g.kept.hash = digest
	}
	g.hash = g.kept.hash
	p := g.kept
	s.specs.shrink()
	return p, nil
}

// foreignSchema is a document that an extension has.
func (s *Server) foreignSchema(ctx context.Context, path string) (*schemaBody, error) {
	if _, ok := s.c.Extensions.Schemas()[path]; !ok {
		return nil, wire.NotFound()
	}
	raw, err := s.c.Extensions.Schema(ctx, path)
	if err != nil {
		return nil, err
	}
	return packSchema(raw)
}

// shrink drops what was asked for longest ago until the rest is within bounds.
func (d *schemas) shrink() {
	for {
		total := 0
		var oldest *schemaGroup
		for _, g := range d.groups {
			if g.kept == nil {
				continue
			}
			total += len(g.kept.body)
			if oldest == nil || g.asked < oldest.asked {
				oldest = g
			}
		}
		if total <= maxSchemas {
			return
		}
		oldest.kept = nil
	}
}

// schemaV2 is the document of version 2, which has all groups.
func (s *Server) schemaV2(protobuf bool) (*schemaBody, error) {
	s.specs.mu.Lock()
	defer s.specs.mu.Unlock()
	s.renewSchemas()
	form := 0
	if protobuf {
		form = 1
	}
	if s.specs.v2[form] != nil {
		return s.specs.v2[form], nil
	}
	var listings []string
	for path, g := range s.specs.groups {
		if g.gv.Version == "" {
			listings = append(listings, path)
		}
	}
	slices.Sort(listings)
	p, err := newSchemaPacker()
	if err != nil {
		return nil, err
	}
	if err := openapi.WriteV2(p, protobuf, listings, s.describedGroups()); err != nil {
		return nil, err
	}
	done, err := p.close()
	if err == nil && len(done.body) <= maxSchemas {
		s.specs.v2[form] = done
	}
	return done, err
}

func (s *Server) describedGroups() iter.Seq2[schema.GroupVersion, []openapi.Resource] {
	return func(yield func(schema.GroupVersion, []openapi.Resource) bool) {
		for _, path := range slices.Sorted(maps.Keys(s.specs.groups)) {
			g := s.specs.groups[path]
			if g.gv.Version != "" && !yield(g.gv, s.describedIn(g)) {
				return
			}
		}
	}
}

// renewSchemas drops what a change of the registry made wrong. The caller holds the lock.
func (s *Server) renewSchemas() {
	var foreign map[string]string
	if s.c.Extensions != nil {
		foreign = s.c.Extensions.Schemas()
	}
	v, _ := s.c.Registry.Version()
	if s.specs.groups != nil && v == s.specs.version && maps.Equal(foreign, s.specs.foreign) {
		return
	}
	old := s.specs.groups
	s.specs.version, s.specs.foreign, s.specs.index, s.specs.v2 = v, maps.Clone(foreign), nil, [2]*schemaBody{}
	s.specs.groups = schemaGroups(s.c.Registry)
	for path, g := range s.specs.groups {
		if o := old[path]; o != nil && slices.Equal(o.resources, g.resources) {
			s.specs.groups[path] = o
		}
	}
}

// schemaGroups are the documents that there are, not yet made.
func schemaGroups(r *apimachinery.Registry) map[string]*schemaGroup {
	out := map[string]*schemaGroup{"api": {}, "apis": {}, "version": {}}
	for _, res := range r.All() {
		for i := range res.Views {
			v := &res.Views[i]
			if v.Unserved {
				continue
			}
			path := openapi.Path(v.GroupVersion())
			g := out[path]
			if g == nil {
				g = &schemaGroup{gv: v.GroupVersion()}
				out[path] = g
			}
			if !slices.Contains(g.resources, res) {
				g.resources = append(g.resources, res)
			}
			if v.Group != "" && v.Schema == nil && out["apis/"+v.Group] == nil {
				out["apis/"+v.Group] = &schemaGroup{}
			}
		}
	}
	return out
}

func (s *Server) makeSchema(path string, g *schemaGroup) ([]byte, error) {
	if g.gv.Version == "" {
		raw, _, err := openapi.Listing(path)
		return raw, err
	}
	return openapi.Document(g.gv, s.describedIn(g))
}

func (s *Server) describedIn(g *schemaGroup) []openapi.Resource {
	var list []openapi.Resource
	for _, res := range g.resources {
		for i := range res.Views {
			if v := &res.Views[i]; v.GroupVersion() == g.gv && !v.Unserved {
				list = append(list, s.described(apimachinery.Found{Resource: res, View: v}))
			}
		}
	}
	return list
}

// described is a resource as its OpenAPI document has it.
func (s *Server) described(f apimachinery.Found) openapi.Resource {
	r := openapi.Resource{
		GroupVersionKind: f.View.GroupVersionKind, ListKind: f.View.ListKind, Plural: f.View.Plural, Namespaced: f.Resource.Namespaced,
		Sample: f.New(), Verbs: verbsOf(f.Resource),
	}
	if f.View.Schema != nil || f.View.OpenAPI != nil {
		r.Sample, r.Schema = nil, s.customSchema(f.View)
		for _, x := range f.View.Fields {
			r.Selectable = append(r.Selectable, x.Name)
		}
	}
	for name, sub := range f.Subs() {
		x := openapi.Subresource{Name: name, GroupVersionKind: sub.Kind, Verbs: sub.Verbs, Connect: sub.Connect != "" && sub.New == nil}
		switch {
		case x.Connect:
			x.Sample = queryOf(sub.Connect)
			if x.Sample == nil {
				continue
			}
			x.GroupVersionKind = corev1.SchemeGroupVersion.WithKind(strings.TrimPrefix(fmt.Sprintf("%T", x.Sample), "*v1."))
		case sub.New != nil:
			x.Sample = sub.New()
		default:
			x.GroupVersionKind = f.View.GroupVersionKind
		}
		if f.View.Schema != nil && x.Sample == nil {
			x.PatchTypes = nil
		}
		r.Subresources = append(r.Subresources, x)
	}
	slices.SortFunc(r.Subresources, func(a, b openapi.Subresource) int { return strings.Compare(a.Name, b.Name) })
	return r
}

// queryOf is the Go type of the query's parameters of a connector; nil: it is not known.
func queryOf(connector string) any {
	switch connector {
	case "pods/log":
		return &corev1.PodLogOptions{}
	case "pods/exec":
		return &corev1.PodExecOptions{}
	case "pods/attach":
		return &corev1.PodAttachOptions{}
	case "pods/portforward":
		return &corev1.PodPortForwardOptions{}
	case "pods/proxy":
		return &corev1.PodProxyOptions{}
	case "services/proxy":
		return &corev1.ServiceProxyOptions{}
	case "nodes/proxy":
		return &corev1.NodeProxyOptions{}
	}
	return nil
}

// customSchema is the schema of a view whose objects have no Go type. One that can't be rendered is any object: the other kinds
// of the group must not suffer.
func (s *Server) customSchema(v *apimachinery.View) func(int) ([]byte, error) {
	return func(version int) ([]byte, error) {
		if v.OpenAPI == nil {
			return []byte(`{"type":"object"}`), nil
		}
		raw, err := v.OpenAPI(version)
		if err != nil {
			s.c.Log.Warn("schema left out of OpenAPI", "kind", v.GroupVersionKind.String(), "err", err)
			return []byte(`{"type":"object"}`), nil
		}
		return raw, nil
	}
}
