package apimachinery

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// Resource declares one kind of thing: one table, one hub type and its views. It is plain data; a [Registry]
// checks it and a server serves it. All hooks see hub objects, may be nil, must be safe for concurrent use and
// must not keep what they are given.
type Resource struct {
	// Name is the plural and group under which objects are stored: {Group: "apps", Resource: "deployments"}.
	// The key of an object is /registry/<Prefix or Resource>/<namespace>/<name>.
	Name schema.GroupResource
	// Prefix is the path of the table under /registry where it is not Name.Resource, as Kubernetes' own layout
	// has it ("services/specs", "minions", or "<group>/<resource>" for a group of one's own).
	Prefix     string
	Namespaced bool
	// New makes an empty hub object. Its Go type belongs to this resource alone.
	New func() Object
	// Views are the versions that clients see, at least one. The first is the storage version.
	Views []View

	// ValidName says what is wrong with a name; nil: it must be a DNS-1123 subdomain.
	ValidName func(name string, prefix bool) []string
	// Default fills in what was left out. It must be idempotent.
	Default func(Object)
	// Validate judges what is about to be stored; old is nil on create. Metadata is judged by the server.
	Validate func(ctx context.Context, new, old Object) field.ErrorList
	// Prepare is called before Validate on create (old nil) and on update of the whole object: it resets what
	// the writer may not set (status, say), carries over what may not change and counts the generation.
	Prepare func(ctx context.Context, new, old Object)
	// Warnings are told to the writer, beside the answer.
	Warnings func(new, old Object) []string

	// Grace returns the seconds that an object gets between the wish to delete it and its end; asked is what
	// the caller wished, nil if nothing. A nil hook, or 0, deletes at once.
	Grace func(o Object, asked *int64) int64
	// BeginDelete marks an object whose deletion has begun but cannot end yet (a namespace turns Terminating).
	BeginDelete func(Object)
	// Finalized says whether an object may go, beyond metadata.finalizers; nil: yes.
	Finalized func(Object) bool
	// Closed says that no object may be created any more, for now: creating is then not allowed (405). nil: never.
	Closed func() bool
	// Upsert lets an update create what does not exist.
	Upsert bool
	// Conditional refuses updates without a resourceVersion.
	Conditional bool
	// Orphans leaves the dependents of what is deleted where the writer doesn't say what becomes of them.
	// OrphansWarning is what such a writer is told; "" for nothing.
	Orphans        bool
	OrphansWarning string
	// TTL is the age at which objects are deleted by the server, 0: never.
	TTL time.Duration

	// Echo answers a deletion with the object that has gone, rather than with a Status.
	Echo bool

	// Guards names the keys that a write takes part in: they are rewritten in the same transaction, so that
	// others can make their own writes depend on them. A Lease whose holder changes guards its fence
	// ("fences/<namespace>/<name>"), a pod that gets a node guards that node's allocation
	// ("allocations/<node>"). See [Request.Fence] and [Request.Seen]. old is nil on create, new on delete.
	Guards func(new, old Object) []string

	// Claims, where set, is how objects come by what only one of them can have: a service's addresses and node
	// ports. A server without an allocator leaves them as they are asked for.
	Claims *Claims

	// Subs are the subresources by name.
	Subs map[string]Subresource

	// Verbs narrows what the resource offers; nil: every verb.
	Verbs []string
	// Virtual answers a create without a table: the resource stores nothing (SubjectAccessReview, say).
	// The only verb is then create. No object is Success.
	Virtual func(ctx context.Context, r *Request, o Object) (Object, error)
	// Fault is what is wrong with the declaration itself, where it was made of something else (package define): a
	// [Registry] refuses it with these words.
	Fault error
	// Listed answers get and list without a table: it returns all objects as they are now, hub objects with their
	// names, which the server then owns. They have no resourceVersion. Verbs must say get and list.
	Listed func(ctx context.Context) ([]Object, error)
}

// Claims is how the objects of a resource come by what only one of them can have. What an object claims is written
// in the transaction by which it comes to claim it, on condition that nobody has it, and goes in the transaction by
// which the object ceases to.
type Claims struct {
	// Complete is called on create (old nil) and on update of the whole object, before anything is allocated: it
	// carries over from old, which it must not change, what the object has already, and says what makes an
	// allocation impossible. nil: nothing.
	Complete func(new, old Object) field.ErrorList
	// Of returns what an object claims, each claim once. It looks at the object alone.
	Of func(o Object) []Claim
}

// Claim is something that one object at a time can have.
type Claim struct {
	// Resource and Name are the object that stands for the claim (an IPAddress). An empty Resource is a bare key
	// ("nodeports/30080").
	Resource schema.GroupResource
	Name     string
	// New makes that object, without what the server sets on new objects; nil for a bare key.
	New func() Object
	// Taken is what the writer is told who asked for what another has: a *field.Error of the object, or an error
	// of its own.
	Taken func() error
}

// View is one version of a resource as clients see it.
type View struct {
	schema.GroupVersionKind
	// Plural and Singular are as in discovery; Singular defaults to the lower-case Kind.
	Plural, Singular string
	Short, Category  []string
	// New makes an empty object of the view's own Go type; nil: the hub itself, and then FromHub and ToHub are nil too.
	New            func() Object
	FromHub, ToHub func(Object) (Object, error)
	// Columns are those of kubectl get. Name comes first and Age last where Columns is nil.
	Columns []Column
	// Fields are the selectable fields besides metadata.name and metadata.namespace.
	Fields []Field

	// ListKind is the kind of lists; Kind and "List" by default.
	ListKind string
	// Unserved keeps a view for objects that are stored in it: clients see nothing of it.
	Unserved bool
	// Deprecated is what everybody is warned of who uses the view; "" where the Go type says whether it is deprecated.
	Deprecated string
	// Subs are the subresources of this view in place of the resource's own; nil: those of the resource.
	Subs map[string]Subresource
	// Schema says of what the objects consist where their Go type does not: it is set if, and only if, objects are
	// *unstructured.Unstructured. It is asked for when first needed, and may be asked for again.
	//
	// Such views differ from others. Objects carry their version with them, so every object of the resource is a hub
	// object: New is set, ToHub returns what it gets, and FromHub converts from whatever version the object says that
	// it has. Hooks of the resource see objects of the version that the request names.
	Schema func() (Schema, error)
	// Complete is asked about the JSON of an object of a Go type before it is decoded, for what the type can't tell once
	// it is: sub is the subresource that is written, empty for the object itself. It returns the JSON with what was left
	// out filled in, and what judges the object when it is about to be stored: that finds what is missing. nil:
	// nothing. JSON that it can't read it returns as it is.
	Complete func(raw []byte, sub string) (out []byte, missing func(Object) field.ErrorList)
	// FromHubs is FromHub for many objects, where that is cheaper than one at a time. nil: it is not.
	FromHubs func(context.Context, []Object) ([]Object, error)
	// OpenAPI is the schema of an object for OpenAPI documents of version 2 or 3, as JSON, where Schema is set.
	OpenAPI func(version int) ([]byte, error)
	// Digest changes whenever what OpenAPI returns does: by it the schema's document has a hash without being made. Empty: it
	// is made.
	Digest string
}

// Schema is what a view knows of objects whose Go type says nothing of them. It never changes and is safe for
// concurrent use. Objects are as JSON has them: maps, slices, strings, booleans, int64 and float64.
type Schema interface {
	// Prune takes what the schema doesn't know out of an object, and returns the paths of it ("spec.foo").
	Prune(o map[string]any) []string
	// Coerce gives the metadata of embedded resources the form of ObjectMeta, and returns the paths of what that doesn't
	// have. What can't be read is an error; with drop, it is taken out.
	Coerce(o map[string]any, drop bool) (unknown []string, err error)
	// Default fills in what was left out. It is idempotent.
	Default(o map[string]any)
	// Shape is what managed fields and apply go by.
	Shape() (*structural.Type, error)
}

// Resource is the group-version-resource of the view.
func (v *View) Resource() schema.GroupVersionResource {
	return v.GroupVersion().WithResource(v.Plural)
}

// Column is one column of a server-side table; Cell sees an object of the view's Go type and returns a string,
// an integer or a bool.
type Column struct {
	metav1.TableColumnDefinition
	Cell func(Object) any
	// Path is where in the JSON of an object the cell comes from, as a JSONPath (".spec.replicas"), where it can be said.
	Path string
}

// Field is a field that selectors may name. Its value is the first non-empty scalar at Paths in the stored
// JSON of the storage version ("spec.nodeName"), or Default. Fields are indexed: a list by field costs what it returns.
type Field struct {
	Name    string
	Paths   []string // nil: Name itself
	Default string
}

// Subresource is a part of an object with a path of its own. Exactly one of Strategy, Mutate or Get with
// Mutate, Do, and Connect describes it:
//   - Strategy: the same object, written under other rules (status, resize).
//   - Get and Mutate: another kind, read from the object and folded into it (scale, binding).
//   - Connect: the name of a connector that the assembler hands to the server (log, exec, attach, portforward, proxy).
//   - Do: anything else (token).
type Subresource struct {
	// Kind is what travels, where it is not the object itself. New makes an empty one.
	Kind schema.GroupVersionKind
	New  func() Object
	// Verbs as in discovery: get, create, update, patch.
	Verbs []string

	// Owns says, where Get and Mutate are another kind's, which field of the object stands behind which field of
	// that kind: {"spec.replicas": "spec.replicas"} of a scale. Who applies the subresource then owns those of the object in its
	// managedFields. nil: it can't be applied.
	Owns map[string]string

	// Scale says, of a scale, where in the JSON of the object its fields are, where it can be said.
	Scale *ScalePaths

	Strategy *Strategy
	Get      func(o Object) (Object, error)
	// Mutate folds in into o, which is then validated and stored. The answer is what Get returns, or a
	// Status "Success" where Get is nil.
	Mutate  func(ctx context.Context, o, in Object) error
	Connect string
	Do      func(ctx context.Context, r *Request, o Object, in Object) (Object, error)
}

// ScalePaths are where replicas and their selector are in the JSON of an object: ".spec.replicas", ".status.replicas"
// and, as text, ".status.selector". The last may be empty.
type ScalePaths struct {
	Spec, Status, Selector string
}

// Strategy is how an object is written through a subresource.
type Strategy struct {
	// Prepare carries over from old all that this subresource may not write.
	Prepare  func(ctx context.Context, new, old Object)
	Validate func(ctx context.Context, new, old Object) field.ErrorList
	// Owned are the top-level fields that belong to this subresource ("status"): they are not owned by
	// writers of the object itself, and nothing else is owned by writers of the subresource.
	Owned []string
}
