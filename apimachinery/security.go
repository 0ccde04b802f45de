package apimachinery

import (
	"context"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Authenticator says who sent a request. ok false with a nil error means "not mine": the next one is asked, and
// after the last the request is anonymous. An error means that credentials were there and are bad: 401.
type Authenticator interface {
	Authenticate(r *http.Request) (u User, ok bool, err error)
}

// TokenAuthenticator resolves a bearer token; audiences nil means the server's own. It returns which of the
// audiences the token is good for.
type TokenAuthenticator interface {
	AuthenticateToken(ctx context.Context, token string, audiences []string) (u User, good []string, ok bool, err error)
}

// Attributes are what a request asks for, as an [Authorizer] sees it.
type Attributes struct {
	User                                                 User
	Verb, Group, Version, Resource, Sub, Namespace, Name string
	// Path is set instead of Resource for requests that aren't about one ("/metrics"); Verb is then the HTTP method in lower case.
	Path string
	// FieldSelector and LabelSelector are those of a list or watch, as text.
	FieldSelector, LabelSelector string
}

// Decision is an [Authorizer]'s verdict.
type Decision int

const (
	// NoOpinion leaves the decision to the next authorizer; after the last it means no.
	NoOpinion Decision = iota
	Allow
	Deny
)

// Authorizer decides whether a request may go on. The reason is shown to the user when it may not. An error
// counts as NoOpinion and is appended to the reason.
type Authorizer interface {
	Authorize(ctx context.Context, a *Attributes) (Decision, string, error)
}

// AuthorizerFunc adapts a function to an [Authorizer].
type AuthorizerFunc func(ctx context.Context, a *Attributes) (Decision, string, error)

// Authorize calls f.
func (f AuthorizerFunc) Authorize(ctx context.Context, a *Attributes) (Decision, string, error) {
	return f(ctx, a)
}

// Rules lists what a user may do in a namespace, for kubectl auth can-i --list. Authorizers may implement it.
type Rules interface {
	RulesFor(ctx context.Context, u User, namespace string) (resource []ResourceRule, path []PathRule, err error)
}

// ResourceRule grants Verbs on Resources of Groups; empty Names means all names.
type ResourceRule struct{ Verbs, Groups, Resources, Names []string }

// PathRule grants Verbs on non-resource Paths.
type PathRule struct{ Verbs, Paths []string }

// Admission is one object on its way into the store, as admission sees it. Object and Old are of the hub type,
// or of the subresource's kind; both are this request's own copies.
type Admission struct {
	User        User
	Operation   string // CREATE, UPDATE, DELETE, CONNECT
	Kind        schema.GroupVersionKind
	Resource    schema.GroupVersionResource
	Sub         string
	Namespace   string
	Name        string // may be empty on create with generateName
	Object, Old Object // Object is nil on DELETE, Old on CREATE
	Options     runtime.Object
	DryRun      bool
	Warn        func(text string)
	// Annotate adds to what the audit is told of the request. The key is qualified by the plugin's name, as in
	// "pod-security.kubernetes.io/exempt"; the first value of a key stays. Concurrent calls are fine. It may be nil.
	Annotate func(key, value string)
	// Parent is the stored object, where Object is of a subresource's own kind (Binding, Scale, Eviction).
	Parent Object
	// Again, which a [Mutator] sets when it has changed what those before it should see, has all of them asked once
	// more. Round is 0 at first and 1 then; what Again says in round 1 is not heeded.
	Again bool
	Round int
	// Memory is where a plugin keeps, under its name, what it wants to know in the next round, and of this request
	// alone. It may be nil until somebody makes it.
	Memory map[string]any
}

// Mutator may change Object before it is validated. It is called once more after others changed the object
// only if it asks for it itself, so it must be idempotent. Its error refuses the request: an
// apierrors.APIStatus as it is, anything else as 403.
type Mutator interface {
	Mutate(ctx context.Context, a *Admission) error
}

// Validator judges an object after all mutation; it must not change it. Errors as with [Mutator].
type Validator interface {
	Validate(ctx context.Context, a *Admission) error
}

// Plugin is a named admission plugin: Mutate, Validate or both.
type Plugin struct {
	Name     string
	Mutate   Mutator
	Validate Validator
}

type userKey struct{}

// WithUser returns a context that carries the user on whose behalf a request is made. A server does so for the hooks
// of a [Resource]: Prepare and Validate.
func WithUser(ctx context.Context, u User) context.Context {
	return context.WithValue(ctx, userKey{}, &u)
}

// UserFrom returns the user that [WithUser] has put into a context, for kinds that record who asks
// (CertificateSigningRequest). The result is shared: it is only read.
func UserFrom(ctx context.Context) (u User, ok bool) {
	p, ok := ctx.Value(userKey{}).(*User)
	if !ok {
		return User{}, false
	}
	return *p, true
}

type kindKey struct{}

// WithKind returns a context that carries the kind that a request names. A server does so for the hooks of a [Resource]
// with several views: Prepare and Validate see hub objects.
func WithKind(ctx context.Context, kind schema.GroupVersionKind) context.Context {
	return context.WithValue(ctx, kindKey{}, kind)
}

// KindFrom returns the kind that [WithKind] has put into a context, for kinds whose rules depend on the view by which
// they are written (Event).
func KindFrom(ctx context.Context) (kind schema.GroupVersionKind, ok bool) {
	kind, ok = ctx.Value(kindKey{}).(schema.GroupVersionKind)
	return kind, ok
}
