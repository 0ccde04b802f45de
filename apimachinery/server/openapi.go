package server

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/openapi"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

const openapiRoot = "/openapi/v3"

func (s *Server) openapi(w http.ResponseWriter, hr *http.Request, path string) {
	path = strings.TrimSuffix(path, "/")
	var p *schemaBody
	var err error
	media := apimachinery.JSON
	w.Header().Set("Vary", "Accept, Accept-Encoding")
	switch {
	case path == "/openapi/v2":
		var protobuf bool
		if protobuf, err = wantsProtobuf(hr); err == nil {
			p, err = s.schemaV2(protobuf)
		}
		if protobuf {
			media = openapi.V2MediaType
		}
	case !acceptsJSON(hr):
		err = notAcceptable("documents of OpenAPI v3 are JSON")
	case path == openapiRoot:
		p, err = s.schemaIndex()
	default:
		below, ok := strings.CutPrefix(path, openapiRoot+"/")
		if !ok {
			err = wire.NotFound()
			break
		}
		if p, err = s.schemaDocument(hr.Context(), below); err == nil && moved(w, hr, below, p) {
			return
		}
	}
	if err == nil {
		err = p.serve(w, hr, media)
	}
	if err != nil {
		s.refuse(w, hr, err)
	}
}

// moved sends a client on that asks for a document of another hash. Under the right one it is good for ever.
func moved(w http.ResponseWriter, hr *http.Request, path string, p *schemaBody) bool {
	switch hash := hr.URL.Query().Get("hash"); hash {
	case "":
		return false
	case p.hash:
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
		return false
	}
	http.Redirect(w, hr, openapi.Address(path, p.hash), http.StatusMovedPermanently)
	return true
}

// serve answers with a document, or 304 to who has it. It is sent as it is kept, compressed, to who takes that.
func (p *schemaBody) serve(w http.ResponseWriter, hr *http.Request, media string) error {
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("ETag", `"`+p.hash+`"`)
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-cache, private")
	}
	body := p.body
	if httpguts.HeaderValuesContainsToken(hr.Header.Values("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
	} else {
		var err error
		if body, err = p.unpack(); err != nil {
			return err
		}
	}
	http.ServeContent(w, hr, "", time.Time{}, bytes.NewReader(body))
	return nil
}

// acceptsJSON says whether JSON is among what a client takes.
func acceptsJSON(hr *http.Request) bool { return preferred(hr, apimachinery.JSON) != "" }

// wantsProtobuf says in which form of version 2 a client wants the document.
func wantsProtobuf(hr *http.Request) (bool, error) {
	const asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
	switch preferred(hr, apimachinery.JSON, asked, openapi.V2MediaType) {
	case "":
		return false, notAcceptable("the document of OpenAPI v2 is JSON or protobuf")
	case apimachinery.JSON:
		return false, nil
	}
	return true, nil
}

// preferred is the one of the offered media types that a client likes best; empty: none.
func preferred(hr *http.Request, offered ...string) string {
	accept := strings.Join(hr.Header.Values("Accept"), ",")
	if accept == "" {
		return offered[0]
	}
	best, bestQ := "", 0.0
	for clause := range strings.SplitSeq(accept, ",") {
		media, params, _ := strings.Cut(clause, ";")
		media = strings.ToLower(strings.TrimSpace(media))
		q := 1.0
		for param := range strings.SplitSeq(params, ";") {
			if text, ok := strings.CutPrefix(strings.TrimSpace(param), "q="); ok {
				if n, err := strconv.ParseFloat(text, 64); err == nil {
					q = n
				}
			}
		}
		for _, o := range offered {
			if q > bestQ && (media == o || media == "*/*" || media == "application/*") {
				best, bestQ = o, q
			}
		}
	}
	return best
}

func notAcceptable(text string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable, Message: text,
	}}
}
