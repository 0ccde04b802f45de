package apimachinery

import (
	"context"
	"io"
	"net/http"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The verbs of a [Request].
const (
	VerbGet              = "get"
	VerbList             = "list"
	VerbWatch            = "watch"
	VerbCreate           = "create"
	VerbUpdate           = "update"
	VerbPatch            = "patch"
	VerbDelete           = "delete"
	VerbDeleteCollection = "deletecollection"
)

// Doer is the one door to an API: a server in this process, or one behind HTTPS. It is safe for concurrent
// use. The error, where there is one, is an apierrors.APIStatus (k8s.io/apimachinery/pkg/api/errors), or the
// context's, or the transport's; a Response is never an error.
type Doer interface {
	Do(ctx context.Context, r *Request) (*Response, error)
}

// Request is one call to an API. The Doer does not change it, and keeps nothing of it once the call (or the
// Stream that it returned) has ended.
type Request struct {
	Verb     string
	Resource schema.GroupVersionResource
	// Namespace is empty for cluster-scoped resources and for all namespaces. Sub is a subresource's name.
	Namespace, Name, Sub string

	// User is who asks. It is set by authentication or by server.As(user); clients leave it empty.
	User User

	// Object is what is sent (for create, update: of the view's type, encoded at once), or Body is, as it came,
	// in ContentType (for patches the patch type; default application/json).
	Object      runtime.Object
	Body        []byte
	ContentType string
	// Accept is the wished media type, with Kubernetes' parameters ("application/json;as=Table;v=v1;g=meta.k8s.io").
	// Empty: application/json.
	Accept string
	// Options are the metav1 options of the verb: GetOptions, ListOptions, CreateOptions, UpdateOptions,
	// PatchOptions, DeleteOptions; for connectors the kind's own (PodLogOptions, PodExecOptions). nil: none.
	Options runtime.Object

	// Fence is "namespace/lease=revision": the write is refused with Conflict once that Lease has changed
	// hands since revision, the resourceVersion of the write that acquired it. Other Kubernetes ignore it.
	Fence string
	// Seen is the resourceVersion up to which the writer knew the world: the write is refused with Conflict
	// if a guard that it takes part in (Resource.Guards) was written after it. Other Kubernetes ignore it.
	Seen string

	// Shares says that the caller takes one object of this Go type in Response.Object in place of its bytes.
	// nil: it does not. It is a wish that only a server in the same process can grant.
	Shares reflect.Type

	// HTTP is the original request where there was one: connectors upgrade it.
	HTTP *http.Request
}

// The headers that carry [Request.Fence] and [Request.Seen] over HTTPS.
const (
	FenceHeader = "Bedplate-Fence"
	SeenHeader  = "Bedplate-Seen"
)

// User is an authenticated identity.
type User struct {
	Name, UID string
	Groups    []string
	Extra     map[string][]string
}

// Response is the answer to a Request: either Body, or Object, or Stream, or Handler.
type Response struct {
	Code        int
	ContentType string
	Body        []byte
	// Object is the server's own decoded copy, for requests that share ([Request.Shares]): it is never to be changed.
	Object Object
	// Stream yields a watch, a log, or a list that is larger than a buffer; the caller closes it. It may
	// implement io.WriterTo to save a copy.
	Stream io.ReadCloser
	// Handler takes over the connection (exec, attach, port-forward, proxy). Only over HTTP.
	Handler http.Handler
	// Warnings are those of the Warning headers, without code and agent.
	Warnings []string
}
