package wire

import (
	"net/http"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// The kinds that an answer may be asked to take (Form.As.Kind).
const (
	AsTable        = "Table"
	AsMetadata     = "PartialObjectMetadata"
	AsMetadataList = "PartialObjectMetadataList"
	AsDiscovery    = "APIGroupDiscoveryList"
)

// Form is the shape that a client wants an answer in.
type Form struct {
	// Media is [apimachinery.JSON] or [apimachinery.YAML].
	Media string
	// As is the kind to convert to; empty: the object as it is.
	As schema.GroupVersionKind
	// Include is how much of each object a Table carries; empty means Metadata.
	Include metav1.IncludeObjectPolicy
}

// Negotiate picks the form of an answer about resources from an Accept header; empty means JSON. Protobuf and
// other media types that aren't offered are passed over; if nothing is left the error is NotAcceptable (406).
func Negotiate(accept string) (Form, error) {
	return negotiate(accept, func(as schema.GroupVersionKind) bool {
		if as.Group != metav1.GroupName || as.Version != "v1" && as.Version != "v1beta1" {
			return false
		}
		return as.Kind == AsTable || as.Kind == AsMetadata || as.Kind == AsMetadataList
	})
}

// NegotiateDiscovery is [Negotiate] for /api and /apis, where the aggregated form is offered.
func NegotiateDiscovery(accept string) (Form, error) {
	return negotiate(accept, func(as schema.GroupVersionKind) bool {
		return as == schema.GroupVersionKind{Group: "apidiscovery.k8s.io", Version: "v2", Kind: AsDiscovery}
	})
}

func negotiate(accept string, offered func(schema.GroupVersionKind) bool) (Form, error) {
	if accept == "" || accept == apimachinery.JSON || accept == "*/*" {
		return Form{Media: apimachinery.JSON}, nil
	}
	best, bestQ := Form{}, 0.0
	for clause := range strings.SplitSeq(accept, ",") {
		if f, q, ok := parseClause(clause, offered); ok && q > bestQ {
			best, bestQ = f, q
		}
	}
	if bestQ == 0 {
		return Form{}, notAcceptable()
	}
	return best, nil
}

func parseClause(clause string, offered func(schema.GroupVersionKind) bool) (f Form, q float64, ok bool) {
	media, params, _ := strings.Cut(clause, ";")
	switch strings.ToLower(strings.TrimSpace(media)) {
	case apimachinery.JSON, "*/*", "application/*":
		f.Media = apimachinery.JSON
	case apimachinery.YAML:
		f.Media = apimachinery.YAML
	default:
		return f, 0, false
	}
	q = 1
	for param := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		switch strings.ToLower(key) {
		case "as":
			f.As.Kind = value
		case "g":
			f.As.Group = value
		case "v":
			f.As.Version = value
		case "include":
			f.Include = metav1.IncludeObjectPolicy(value)
		case "q":
			n, err := strconv.ParseFloat(value, 64)
			if err != nil || n < 0 || n > 1 {
				return f, 0, false
			}
			q = n
		}
	}
	if f.As.Kind == "" {
		return Form{Media: f.Media}, q, true
	}
	return f, q, offered(f.As)
}

func notAcceptable() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: " + apimachinery.JSON + ", " + apimachinery.YAML,
	}}
}

const asTable = "as=" + AsTable

func withInclude(accept, include string) string {
	switch metav1.IncludeObjectPolicy(include) {
	case metav1.IncludeNone, metav1.IncludeMetadata, metav1.IncludeObject:
		return strings.ReplaceAll(accept, asTable, asTable+";include="+include)
	}
	return accept
}

func takeInclude(accept string) (rest, include string) {
	_, behind, found := strings.Cut(accept, asTable+";include=")
	if !found {
		return accept, ""
	}
	if end := strings.IndexAny(behind, ";,"); end >= 0 {
		behind = behind[:end]
	}
	return strings.ReplaceAll(accept, ";include="+behind, ""), behind
}
