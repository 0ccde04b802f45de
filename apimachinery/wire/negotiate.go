package wire

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// Media is [apimachinery.JSON], [apimachinery.YAML] or [apimachinery.Protobuf].
	Media string
	// As is the kind to convert to; empty: the object as it is.
	As schema.GroupVersionKind
	// Include is how much of each object a Table carries; empty means Metadata.
	Include metav1.IncludeObjectPolicy
	// Pretty asks for JSON that people can read.
	Pretty bool
}

// Offer is what can be negotiated about.
type Offer struct {
	// Protobuf says that the objects themselves have a protobuf encoding. Their metadata always has.
	Protobuf bool
	// Stream narrows it to what a watch can be: not YAML.
	Stream bool
}

// Negotiate picks the form of an answer about resources that have no protobuf encoding; empty means JSON. Media
// types that aren't offered are passed over; if nothing is left the error is NotAcceptable (406).
func Negotiate(accept string) (Form, error) { return NegotiateOf(accept, Offer{}) }

// NegotiateOf picks the form of an answer about resources, as Kubernetes does: the clause with the largest q, of
// those the most specific, of those the first, as far as it is offered. A watch for which YAML comes out is an
// error, too.
func NegotiateOf(accept string, o Offer) (Form, error) {
	f, err := negotiate(accept, o.allows)
	if err == nil && o.Stream && f.Media == apimachinery.YAML {
		err = notAcceptable("")
	}
	if err != nil && o.Stream {
		err = notAcceptable(";stream=watch", apimachinery.JSON, apimachinery.Protobuf)
	}
	return f, err
}

// allows says whether objects can be had in a media type, as they are or as another kind.
func (o Offer) allows(media string, as schema.GroupVersionKind) bool {
	switch {
	case as.Empty():
		return o.Protobuf || media != apimachinery.Protobuf
	case as.Group != metav1.GroupName || as.Version != "v1" && as.Version != "v1beta1":
		return false
	}
	switch as.Kind {
	case AsTable:
		return media != apimachinery.Protobuf
	case AsMetadata, AsMetadataList:
		return true
	}
	return false
}

// NegotiateDiscovery is [Negotiate] for /api and /apis, where the aggregated form is offered.
func NegotiateDiscovery(accept string) (Form, error) {
	return negotiate(accept, func(media string, as schema.GroupVersionKind) bool {
		return media != apimachinery.Protobuf &&
			(as.Empty() || as == schema.GroupVersionKind{Group: "apidiscovery.k8s.io", Version: "v2", Kind: AsDiscovery})
	})
}

// negotiateStatus is the media type of an error, which is itself nothing that can be converted.
func negotiateStatus(accept string) string {
	f, err := negotiate(accept, func(_ string, as schema.GroupVersionKind) bool { return as.Empty() })
	if err != nil {
		return apimachinery.JSON
	}
	return f.Media
}

// allows says whether a media type is offered in which an answer is the given kind, or itself if that is empty.
type allows func(media string, as schema.GroupVersionKind) bool

func negotiate(accept string, offered allows) (Form, error) {
	if accept == "" || accept == apimachinery.JSON || accept == "*/*" {
		return Form{Media: apimachinery.JSON}, nil
	}
	best, bestRank := Form{}, rank{}
	for clause := range strings.SplitSeq(accept, ",") {
		if f, r, ok := parseClause(clause, offered); ok && r.above(bestRank) {
			best, bestRank = f, r
		}
	}
	if bestRank.q == 0 {
		return Form{}, notAcceptable("", apimachinery.JSON, apimachinery.YAML, apimachinery.Protobuf)
	}
	return best, nil
}

// rank orders the clauses of an Accept header.
type rank struct {
	q        float64
	specific int // 0: */*; 1: application/*; 2: one media type
}

func (r rank) above(o rank) bool { return r.q > o.q || r.q == o.q && r.specific > o.specific }

var mediaOf = map[string]struct {
	media    string
	specific int
}{
	apimachinery.JSON: {apimachinery.JSON, 2}, apimachinery.YAML: {apimachinery.YAML, 2}, apimachinery.Protobuf: {apimachinery.Protobuf, 2},
	"application/*": {apimachinery.JSON, 1}, "*/*": {apimachinery.JSON, 0}, "*": {apimachinery.JSON, 0},
}

func parseClause(clause string, offered allows) (f Form, r rank, ok bool) {
	name, params, _ := strings.Cut(clause, ";")
	m, known := mediaOf[strings.ToLower(strings.TrimSpace(name))]
	if !known {
		return f, r, false
	}
	f.Media, r = m.media, rank{1, m.specific}
	for param := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if !f.set(strings.ToLower(key), strings.Trim(value, `"`), &r) {
			return f, r, false
		}
	}
	return f, r, offered(f.Media, f.As)
}

// set reads one parameter of a clause. false: the clause does not count.
func (f *Form) set(key, value string, r *rank) bool {
	switch key {
	case "as":
		f.As.Kind = value
	case "g":
		f.As.Group = value
	case "v":
		f.As.Version = value
	case "include":
		f.Include = metav1.IncludeObjectPolicy(value)
	case "pretty":
		f.Pretty = value == "1"
	case "stream":
		return value == "" || value == "watch" && f.Media != apimachinery.YAML
	case "sv":
		return value == "" || value == "v1"
	case "q":
		n, err := strconv.ParseFloat(value, 64)
		r.q = n
		return err == nil && n >= 0 && n <= 1
	}
	return true
}

func notAcceptable(suffix string, media ...string) error {
	for i := range media {
		media[i] += suffix
	}
	return NotAcceptable("only the following media types are accepted: " + strings.Join(media, ", "))
}

// NotAcceptable is the error of an answer in a form that does not exist (406).
func NotAcceptable(message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable, Message: message,
	}}
}

// UnsupportedMedia is the error of a body in a media type that nobody reads (415).
func UnsupportedMedia(got string, accepted ...string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf("the body of the request was in an unknown format - accepted media types include: %s (not %q)", strings.Join(accepted, ", "), got),
	}}
}

// isPretty says whether JSON is to be made for people: the query says so, or the clause that is answered, or the
// client is one that people look at. As Kubernetes has it, "pretty=" with a value decides alone.
func isPretty(hr *http.Request) bool {
	if strings.Contains(hr.URL.RawQuery, "pretty") {
		if p := hr.URL.Query().Get("pretty"); p != "" {
			pretty, err := strconv.ParseBool(p)
			return pretty && err == nil
		}
	}
	accept := strings.Join(hr.Header.Values("Accept"), ",")
	if strings.Contains(accept, "pretty=1") {
		f, err := negotiate(accept, func(string, schema.GroupVersionKind) bool { return true })
		if err == nil && f.Pretty {
			return true
		}
	}
	agent := hr.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

const asTable = "as=" + AsTable

// withInclude carries the query parameter includeObject in the clauses that want a table. What it may say is for
// others to judge; here it must be a word.
func withInclude(accept, include string) string {
	if include == "" {
		return accept
	}
	if strings.ContainsFunc(include, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }) {
		include = "Invalid"
	}
	return strings.ReplaceAll(accept, asTable, asTable+";include="+include)
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
