package client

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
)

// Option changes one call. An option that makes no sense for a call is an error of that call, so that a wish is
// never dropped silently.
type Option struct {
	name  string
	verbs verbs
	set   func(*call)
}

type verbs uint16

const (
	onGet verbs = 1 << iota
	onList
	onWatch
	onCreate
	onUpdate
	onPatch
	onApply
	onDelete
	onDeleteCollection

	onReads  = onGet | onList | onWatch
	onStores = onCreate | onUpdate | onPatch | onApply
	onErases = onDelete | onDeleteCollection
	onWrites = onStores | onErases
	onMany   = onList | onWatch | onDeleteCollection
)

// call is the sum of the options of one call.
type call struct {
	namespace           string
	labels, fields      string
	limit               int64
	token               string
	version             string
	match               metav1.ResourceVersionMatch
	bookmarks, initial  bool
	timeout             time.Duration
	dryRun, force       bool
	manager, validation string
	fence, seen         string
	grace               *int64
	propagation         *metav1.DeletionPropagation
	uid                 *types.UID
	ifVersion           *string
	warn                func(string)
}

func newCall(on verbs, opts []Option) (*call, error) {
	c := &call{}
	for _, o := range opts {
		if o.set == nil {
			continue
		}
		if o.verbs&on == 0 {
			return nil, fmt.Errorf("option %s does not apply", o.name)
		}
		o.set(c)
	}
	return c, nil
}

// InNamespace narrows a list, watch or deletion of many to one namespace. Default: all namespaces.
func InNamespace(ns string) Option {
	return Option{"InNamespace", onMany, func(c *call) { c.namespace = ns }}
}

// Labels narrows by a label selector, as kubectl -l takes it ("app=web,tier in (a,b)").
func Labels(selector string) Option {
	return Option{"Labels", onMany, func(c *call) { c.labels = selector }}
}

// Fields narrows by a field selector, as kubectl --field-selector takes it ("spec.nodeName=a").
func Fields(selector string) Option {
	return Option{"Fields", onMany, func(c *call) { c.fields = selector }}
}

// Limit asks for pages of at most n objects. Default 0: everything at once; for [Resource.All] 500.
func Limit(n int64) Option { return Option{"Limit", onList, func(c *call) { c.limit = n }} }

// Continue goes on with the page after a list's Continue token.
func Continue(token string) Option {
	return Option{"Continue", onList, func(c *call) { c.token = token }}
}

// Since watches from after a resourceVersion. Default: from now, with every object as Added first.
func Since(version string) Option {
	return Option{"Since", onWatch, func(c *call) { c.version = version }}
}

// NotOlderThan reads a state at least as new as a resourceVersion, from a cache if need be; "0" is any state.
// Default: the newest.
func NotOlderThan(version string) Option {
	return Option{"NotOlderThan", onGet | onList, func(c *call) {
		c.version, c.match = version, metav1.ResourceVersionMatchNotOlderThan
	}}
}

// At lists the state of exactly one resourceVersion, while the server remembers it.
func At(version string) Option {
	return Option{"At", onList, func(c *call) { c.version, c.match = version, metav1.ResourceVersionMatchExact }}
}

// Bookmarks asks a watch to tell of progress where nothing happens.
func Bookmarks() Option { return Option{"Bookmarks", onWatch, func(c *call) { c.bookmarks = true }} }

// InitialEvents asks a watch for the present state first, ended by a bookmark with the annotation
// k8s.io/initial-events-end. Servers may refuse it.
func InitialEvents() Option {
	return Option{"InitialEvents", onWatch, func(c *call) { c.initial, c.bookmarks = true, true }}
}

// Timeout asks the server to end the call after d, rounded up to seconds.
func Timeout(d time.Duration) Option {
	return Option{"Timeout", onMany, func(c *call) { c.timeout = d }}
}

// DryRun goes the whole way, but stores nothing.
func DryRun() Option { return Option{"DryRun", onWrites, func(c *call) { c.dryRun = true }} }

// FieldManager names the writer in managedFields. Default: that of [Client.WithFieldManager], then the user
// agent's; for apply there is none.
func FieldManager(name string) Option {
	return Option{"FieldManager", onStores, func(c *call) { c.manager = name }}
}

// FieldValidation says what happens to unknown fields: metav1.FieldValidationStrict, Warn (default) or Ignore.
func FieldValidation(mode string) Option {
	return Option{"FieldValidation", onStores, func(c *call) { c.validation = mode }}
}

// Force takes fields over from other managers in an apply.
func Force() Option { return Option{"Force", onApply, func(c *call) { c.force = true }} }

// Fence makes a write fail once a lease has changed hands: see apimachinery.Request.Fence.
func Fence(fence string) Option {
	return Option{"Fence", onWrites, func(c *call) { c.fence = fence }}
}

// Seen makes a write fail if what it depends on changed after a resourceVersion: see apimachinery.Request.Seen.
func Seen(version string) Option {
	return Option{"Seen", onWrites, func(c *call) { c.seen = version }}
}

// Grace is how many seconds a deleted object gets to end. Default: what its kind and spec say.
func Grace(seconds int64) Option {
	return Option{"Grace", onErases, func(c *call) { c.grace = &seconds }}
}

// Propagation says what happens to dependents: metav1.DeletePropagationBackground, Foreground or Orphan.
func Propagation(p metav1.DeletionPropagation) Option {
	return Option{"Propagation", onErases, func(c *call) { c.propagation = &p }}
}

// IfUID deletes only the object of this uid; another of the same name is a Conflict.
func IfUID(uid types.UID) Option { return Option{"IfUID", onErases, func(c *call) { c.uid = &uid }} }

// IfVersion deletes only the object of this resourceVersion; otherwise it is a Conflict.
func IfVersion(version string) Option {
	return Option{"IfVersion", onErases, func(c *call) { c.ifVersion = &version }}
}

// Warnings hears the warnings that come with the answer.
func Warnings(f func(text string)) Option {
	return Option{"Warnings", ^verbs(0), func(c *call) { c.warn = f }}
}

func (c *call) getOptions() runtime.Object {
	if c.version == "" {
		return nil
	}
	return &metav1.GetOptions{ResourceVersion: c.version}
}

func (c *call) listOptions(watch bool) *metav1.ListOptions {
	o := &metav1.ListOptions{
		LabelSelector: c.labels, FieldSelector: c.fields, Limit: c.limit, Continue: c.token,
		Watch: watch, AllowWatchBookmarks: c.bookmarks,
		ResourceVersion: c.version, ResourceVersionMatch: c.match,
	}
	if c.initial {
		yes := true
		o.SendInitialEvents, o.ResourceVersionMatch = &yes, metav1.ResourceVersionMatchNotOlderThan
	}
	if c.timeout > 0 {
		s := int64((c.timeout + time.Second - 1) / time.Second)
		o.TimeoutSeconds = &s
	}
	return o
}

func (c *call) dry() []string {
	if c.dryRun {
		return []string{metav1.DryRunAll}
	}
	return nil
}

func (c *call) storeOptions(verb string) runtime.Object {
	switch verb {
	case apimachinery.VerbCreate:
		return &metav1.CreateOptions{DryRun: c.dry(), FieldManager: c.manager, FieldValidation: c.validation}
	case apimachinery.VerbUpdate:
		return &metav1.UpdateOptions{DryRun: c.dry(), FieldManager: c.manager, FieldValidation: c.validation}
	}
	o := &metav1.PatchOptions{DryRun: c.dry(), FieldManager: c.manager, FieldValidation: c.validation}
	if c.force {
		o.Force = &c.force
	}
	return o
}

func (c *call) deleteOptions() *metav1.DeleteOptions {
	o := &metav1.DeleteOptions{DryRun: c.dry(), GracePeriodSeconds: c.grace, PropagationPolicy: c.propagation}
	if c.uid != nil || c.ifVersion != nil {
		o.Preconditions = &metav1.Preconditions{UID: c.uid, ResourceVersion: c.ifVersion}
	}
	return o
}
