package discovery

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// Config is what a [Handler] needs.
type Config struct {
	// Registry is what is served. Required.
	Registry *apimachinery.Registry
	// Address is the host and port told to clients in /api; empty: none.
	Address string
	// Source has the groups of other servers; nil: there are none.
	Source Source
}

func (c *Config) validate() error {
	if c.Registry == nil {
		return errors.New("discovery: Registry must be set")
	}
	return nil
}

// Handler serves GET and HEAD of the discovery documents. Each document is encoded once per version of the
// Registry and form. It is safe for concurrent use.
type Handler struct {
	config  Config
	mu      sync.Mutex
	version [2]uint64 // of the Registry and the Source
	cache   map[string]document
}

type document struct {
	body              []byte
	contentType, etag string
}

var _ http.Handler = (*Handler)(nil)

// New makes a Handler.
func New(c Config) (*Handler, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &Handler{config: c}, nil
}

// Serves says whether a path is one of discovery's: /api, /apis, /api/<version>, /apis/<group> and
// /apis/<group>/<version>, with or without a slash behind. Whether something is there, ServeHTTP finds out.
func Serves(path string) bool {
	s := strings.Split(strings.TrimSuffix(path, "/"), "/")
	if len(s) < 2 || s[0] != "" {
		return false
	}
	return s[1] == "api" && len(s) <= 3 || s[1] == "apis" && len(s) <= 4
}

// ServeHTTP answers, with an ETag for the aggregated documents, and 304 to who has it already.
func (h *Handler) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	if hr.Method != http.MethodGet && hr.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	d, err := h.document(strings.TrimSuffix(hr.URL.Path, "/"), strings.Join(hr.Header.Values("Accept"), ","))
	if err != nil {
		_ = wire.WriteError(w, hr, err) // the connection is gone: nobody to tell
		return
	}
	w.Header().Set("Vary", "Accept")
	if d.etag != "" {
		w.Header().Set("ETag", d.etag)
		w.Header().Set("Cache-Control", "public")
		if hr.Header.Get("If-None-Match") == d.etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	_ = wire.WriteResponse(w, hr, &apimachinery.Response{ContentType: d.contentType, Body: d.body})
}

func (h *Handler) document(path, accept string) (document, error) {
	if !Serves(path) {
		return document{}, wire.NotFound()
	}
	negotiate := wire.Negotiate
	if path == "/api" || path == "/apis" {
		negotiate = wire.NegotiateDiscovery
	}
	form, err := negotiate(accept)
	if err != nil {
		return document{}, err
	}
	aggregated := form.As.Kind == wire.AsDiscovery
	h.mu.Lock()
	defer h.mu.Unlock()
	extensions := h.renew()
	key := fmt.Sprint(path, " ", form.Media, " ", aggregated)
	if d, ok := h.cache[key]; ok {
		return d, nil
	}
	d, err := h.make(path, form.Media, aggregated, extensions)
	if err == nil {
		h.cache[key] = d
	}
	return d, err
}

// renew forgets what was made of another state of the Registry or the Source. The caller holds the lock.
func (h *Handler) renew() (extensions []Extension) {
	var now [2]uint64
	now[0], _ = h.config.Registry.Version()
	if h.config.Source != nil {
		extensions, now[1] = h.config.Source.Extensions()
	}
	if h.cache == nil || now != h.version {
		h.version, h.cache = now, map[string]document{}
	}
	return extensions
}

func (h *Handler) make(path, media string, aggregated bool, extensions []Extension) (document, error) {
	content, err := h.content(path, aggregated, extensions)
	if err != nil {
		return document{}, err
	}
	body, err := apimachinery.Encode(content)
	if err != nil {
		return document{}, err
	}
	d := document{body: body, contentType: media}
	if aggregated {
		d.contentType += ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
		d.etag = fmt.Sprintf("%q", fmt.Sprintf("%X", sha512.Sum512(body)))
	}
	if media == apimachinery.YAML {
		d.body, err = yaml.JSONToYAML(body)
	}
	return d, err
}

// content makes the document of a path that Serves.
func (h *Handler) content(path string, aggregated bool, extensions []Extension) (any, error) {
	reg := h.config.Registry
	if aggregated {
		return Aggregated(reg, path == "/api", extensions...), nil
	}
	s := strings.Split(path, "/")
	switch {
	case path == "/api":
		return h.coreVersions(), nil
	case path == "/apis":
		return Groups(reg, extensions...), nil
	case s[1] == "apis" && len(s) == 3:
		for _, g := range groupsOf(reg, extensions) {
			if g.name != "" && g.name == s[2] {
				d := g.document()
				d.Kind, d.APIVersion = "APIGroup", "v1"
				return &d, nil
			}
		}
		return nil, wire.NotFound()
	}
	gv := schema.GroupVersion{Version: s[len(s)-1]}
	if s[1] == "apis" {
		gv.Group = s[2]
	}
	list, ok := Resources(reg, gv, extensions...)
	if ok && (s[1] == "api" || gv.Group != "") {
		return list, nil
	}
	if slices.ContainsFunc(extensions, func(x Extension) bool { return x.GroupVersion == gv }) {
		return nil, apierrors.NewServiceUnavailable("the server is currently unable to handle the request")
	}
	return nil, wire.NotFound()
}

func (h *Handler) coreVersions() *metav1.APIVersions {
	d := &metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{}, ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{}}
	for _, g := range groupsOf(h.config.Registry, nil) {
		if g.name == "" {
			d.Versions = g.versions
		}
	}
	if h.config.Address != "" {
		d.ServerAddressByClientCIDRs = append(d.ServerAddressByClientCIDRs, metav1.ServerAddressByClientCIDR{ClientCIDR: "0.0.0.0/0", ServerAddress: h.config.Address})
	}
	return d
}
