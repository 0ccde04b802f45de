package rbac

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/bedplate/bedplate/apimachinery"
)

// Subject is whom a binding names: Kind is User or Group. A service account is the User of its full name.
type Subject struct{ Kind, Name string }

// Grant is a binding as an authorizer needs it.
type Grant struct {
	// Binding is its name and Ref its role.
	Binding string
	Ref     rbacv1.RoleRef
}

// Source holds roles and bindings. It is safe for concurrent use; what it returns is shared and only read.
type Source interface {
	// Grants returns the bindings of a namespace that name the subject; of the cluster where it is empty.
	Grants(namespace string, s Subject) []Grant
	// Rules returns those of a Role in the namespace, or of a ClusterRole where the reference says so; ok is
	// false if there is none.
	Rules(namespace string, ref rbacv1.RoleRef) (rules []rbacv1.PolicyRule, ok bool)
}

// Index is a [Source] in memory, kept current by its owner. The zero value is empty and ready to use. It is safe
// for concurrent use.
type Index struct {
	mu       sync.RWMutex
	roles    map[string]*role
	bindings map[string]*binding
	// grants is by namespace and subject.
	grants map[grantKey][]Grant
	// stale says that a ClusterRole has changed since aggregate ran.
	stale bool
}

type role struct {
	labels map[string]string
	// own are the rules as written; rules are those in force, aggregation included.
	own, rules []rbacv1.PolicyRule
	selectors  []labels.Selector
	aggregates bool
}

type binding struct {
	namespace string
	grant     Grant
	subjects  []Subject
}

type grantKey struct {
	namespace string
	subject   Subject
}

var _ Source = (*Index)(nil)

// Grants implements [Source].
func (x *Index) Grants(namespace string, s Subject) []Grant {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.grants[grantKey{namespace, s}]
}

// Rules implements [Source].
func (x *Index) Rules(namespace string, ref rbacv1.RoleRef) ([]rbacv1.PolicyRule, bool) {
	if ref.Kind == "ClusterRole" {
		namespace = ""
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	r, ok := x.roles[apimachinery.Key(namespace, ref.Name)]
	if !ok {
		return nil, false
	}
	if r.aggregates && x.stale {
		x.refresh()
		if r, ok = x.roles[apimachinery.Key(namespace, ref.Name)]; !ok {
			return nil, false
		}
	}
	return r.rules, true
}

// refresh trades the read lock for the write lock and back.
func (x *Index) refresh() {
	x.mu.RUnlock()
	defer x.mu.RLock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stale {
		x.aggregate()
		x.stale = false
	}
}

// Set adds or replaces a Role, ClusterRole, RoleBinding or ClusterRoleBinding, which it does not keep or change;
// other kinds are an error. A ClusterRole that aggregates has the rules of those that it selects at once.
func (x *Index) Set(o apimachinery.Object) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.init()
	key := apimachinery.KeyOf(o)
	switch o := o.(type) {
	case *rbacv1.Role:
		r := copyRules(o.Rules)
		x.roles[key] = &role{own: r, rules: r}
	case *rbacv1.ClusterRole:
		r, err := newClusterRole(o)
		if err != nil {
			return fmt.Errorf("index clusterrole %s: %w", o.Name, err)
		}
		x.roles[key], x.stale = r, true
	case *rbacv1.RoleBinding:
		x.bind(key, o.Namespace, o.Name, o.RoleRef, o.Subjects)
	case *rbacv1.ClusterRoleBinding:
		x.bind(key, "", o.Name, o.RoleRef, o.Subjects)
	default:
		return fmt.Errorf("index %T: not a kind of rbac.authorization.k8s.io/v1", o)
	}
	return nil
}

// Delete takes an object out, found by its type, namespace and name.
func (x *Index) Delete(o apimachinery.Object) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	key := apimachinery.KeyOf(o)
	switch o.(type) {
	case *rbacv1.Role:
		delete(x.roles, key)
	case *rbacv1.ClusterRole:
		delete(x.roles, key)
		x.stale = true
	case *rbacv1.RoleBinding, *rbacv1.ClusterRoleBinding:
		x.unbind(key)
	default:
		return fmt.Errorf("index %T: not a kind of rbac.authorization.k8s.io/v1", o)
	}
	return nil
}

func (x *Index) init() {
	if x.roles == nil {
		x.roles, x.bindings, x.grants = map[string]*role{}, map[string]*binding{}, map[grantKey][]Grant{}
	}
}

func (x *Index) bind(key, namespace, name string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
	x.unbind(key)
	b := &binding{namespace: namespace, grant: Grant{Binding: name, Ref: ref}}
	for _, s := range subjects {
		if got, ok := subjectOf(s, namespace); ok && !slices.Contains(b.subjects, got) {
			b.subjects = append(b.subjects, got)
		}
	}
	x.bindings[key] = b
	for _, s := range b.subjects {
		at := grantKey{namespace, s}
		x.grants[at] = append(slices.Clone(x.grants[at]), b.grant) // readers hold the old slice
	}
}

func (x *Index) unbind(key string) {
	b, ok := x.bindings[key]
	if !ok {
		return
	}
	delete(x.bindings, key)
	for _, s := range b.subjects {
		at := grantKey{b.namespace, s}
		left := slices.DeleteFunc(slices.Clone(x.grants[at]), func(g Grant) bool { return g == b.grant })
		if x.grants[at] = left; len(left) == 0 {
			delete(x.grants, at)
		}
	}
}

func subjectOf(s rbacv1.Subject, namespace string) (Subject, bool) {
	switch s.Kind {
	case rbacv1.UserKind, rbacv1.GroupKind:
		return Subject{s.Kind, s.Name}, s.APIGroup == rbacv1.GroupName || s.APIGroup == ""
	case rbacv1.ServiceAccountKind:
		if s.Namespace != "" {
			namespace = s.Namespace
		}
		return Subject{rbacv1.UserKind, ServiceAccountUser(namespace, s.Name)}, namespace != ""
	}
	return Subject{}, false
}

const serviceAccountPrefix = "system:serviceaccount:"

// ServiceAccountUser is the user name of a service account.
func ServiceAccountUser(namespace, name string) string {
	return serviceAccountPrefix + namespace + ":" + name
}

// SplitServiceAccountUser is the inverse of [ServiceAccountUser].
func SplitServiceAccountUser(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, serviceAccountPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, ":")
}

func copyRules(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	return (&rbacv1.ClusterRole{Rules: rules}).DeepCopy().Rules
}

func newClusterRole(o *rbacv1.ClusterRole) (*role, error) {
	r := &role{labels: maps.Clone(o.Labels), own: copyRules(o.Rules)}
	r.rules = r.own
	if o.AggregationRule == nil {
		return r, nil
	}
	r.aggregates = true
	var err error
	r.selectors, err = selectors(o.AggregationRule)
	return r, err
}

func selectors(a *rbacv1.AggregationRule) ([]labels.Selector, error) {
	var out []labels.Selector
	for i := range a.ClusterRoleSelectors {
		s, err := metav1.LabelSelectorAsSelector(&a.ClusterRoleSelectors[i])
		if err != nil {
			return nil, errors.Join(errors.New("a selector of its aggregationRule is bad"), err)
		}
		out = append(out, s)
	}
	return out, nil
}

// aggregate gives each role that aggregates the rules of those that it selects, through any number of levels.
func (x *Index) aggregate() {
	names := x.clusterRoles()
	for _, key := range names {
		if r := x.roles[key]; r.aggregates {
			r.rules = x.collect(r, names, map[*role]bool{}, nil)
		}
	}
}

func (x *Index) clusterRoles() []string {
	var names []string
	for key := range x.roles {
		if !strings.Contains(key, "/") {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	return names
}

func (x *Index) collect(r *role, names []string, seen map[*role]bool, into []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	seen[r] = true
	for _, key := range names {
		other := x.roles[key]
		if seen[other] || !slices.ContainsFunc(r.selectors, func(s labels.Selector) bool { return s.Matches(labels.Set(other.labels)) }) {
			continue
		}
		if other.aggregates {
			into = x.collect(other, names, seen, into)
			continue
		}
		seen[other] = true
		into = addRules(into, other.own)
	}
	return into
}

func addRules(into, more []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	for i := range more {
		if !slices.ContainsFunc(into, func(r rbacv1.PolicyRule) bool { return equalRules(&r, &more[i]) }) {
			into = append(into, more[i])
		}
	}
	return into
}

func equalRules(a, b *rbacv1.PolicyRule) bool {
	return slices.Equal(a.Verbs, b.Verbs) && slices.Equal(a.APIGroups, b.APIGroups) && slices.Equal(a.Resources, b.Resources) &&
		slices.Equal(a.ResourceNames, b.ResourceNames) && slices.Equal(a.NonResourceURLs, b.NonResourceURLs)
}

// Aggregate returns the rules that a ClusterRole's aggregationRule collects from all, in the order of their
// names. The rules of a role that doesn't aggregate are its own.
func Aggregate(r *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	var x Index
	for _, o := range append(slices.Clone(all), r) {
		if err := x.Set(o); err != nil {
			return nil, err
		}
	}
	rules, _ := x.Rules("", rbacv1.RoleRef{Kind: "ClusterRole", Name: r.Name})
	return copyRules(rules), nil
}
