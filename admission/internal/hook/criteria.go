// Package hook is what webhooks and policies have in common: which requests they are about, in which version they see
// an object, and how their configuration is compiled once and used until it changes.
package hook

import (
	"context"
	"errors"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Criteria say which requests a webhook, a policy or a binding is about. They may be used concurrently.
type Criteria struct {
	rules, excluded       []rule
	any                   bool // no rule at all is every request
	equivalent            bool
	namespaces, objects   labels.Selector
	namespaceErr, partErr error
}

type rule struct {
	admissionregistrationv1.RuleWithOperations
	names []string
}

// ForWebhook compiles the criteria of a webhook.
func ForWebhook(rules []admissionregistrationv1.RuleWithOperations, policy *admissionregistrationv1.MatchPolicyType, namespaces, objects *metav1.LabelSelector) *Criteria {
	c := criteria(policy, namespaces, objects)
	for _, r := range rules {
		c.rules = append(c.rules, rule{RuleWithOperations: r})
	}
	return c
}

// ForPolicy compiles those of a policy or binding; nil is every request.
func ForPolicy(m *admissionregistrationv1.MatchResources) *Criteria {
	if m == nil {
		return &Criteria{any: true, namespaces: labels.Everything(), objects: labels.Everything()}
	}
	c := criteria(m.MatchPolicy, m.NamespaceSelector, m.ObjectSelector)
	c.rules, c.excluded = named(m.ResourceRules), named(m.ExcludeResourceRules)
	c.any = len(c.rules) == 0
	return c
}

func named(rules []admissionregistrationv1.NamedRuleWithOperations) (out []rule) {
	for _, r := range rules {
		out = append(out, rule{r.RuleWithOperations, r.ResourceNames})
	}
	return out
}

func criteria(policy *admissionregistrationv1.MatchPolicyType, namespaces, objects *metav1.LabelSelector) *Criteria {
	c := &Criteria{equivalent: policy == nil || *policy == admissionregistrationv1.Equivalent}
	c.namespaces, c.namespaceErr = selector(namespaces)
	c.objects, c.partErr = selector(objects)
	return c
}

// selector reads one; none selects everything.
func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

// Match says whether a request is meant, and as what. An error is an API Status, and comes only of what would be meant.
func (c *Criteria) Match(ctx context.Context, r *Request) (as Target, ok bool, err error) {
	inNamespace, namespaceErr := c.matchNamespace(ctx, r)
	if !inNamespace && namespaceErr == nil {
		return as, false, nil
	}
	labelled, objectErr := c.matchObject(r)
	if !labelled && objectErr == nil {
		return as, false, nil
	}
	if _, out := c.matchRules(c.excluded, r); out {
		return as, false, nil
	}
	if as, ok = r.Own, c.any; !ok {
		if as, ok = c.matchRules(c.rules, r); !ok {
			return as, false, nil
		}
	}
	if namespaceErr != nil {
		return as, false, namespaceErr
	}
	return as, objectErr == nil, objectErr
}

// matchRules tries the request as it is with all rules, and then, rule by rule, the other versions of its resource.
func (c *Criteria) matchRules(rules []rule, r *Request) (as Target, ok bool) {
	for i := range rules {
		if rules[i].matches(r, r.Resource) {
			return r.Own, true
		}
	}
	if !c.equivalent || len(rules) == 0 {
		return as, false
	}
	others := r.equivalents()
	for i := range rules {
		for _, other := range others {
			if rules[i].matches(r, other.Resource) {
				return other, true
			}
		}
	}
	return as, false
}

func (l *rule) matches(r *Request, resource schema.GroupVersionResource) bool {
	return l.scoped(r) && has(l.Operations, admissionregistrationv1.OperationType(r.Operation)) &&
		has(l.APIGroups, resource.Group) && has(l.APIVersions, resource.Version) &&
		l.hasResource(resource.Resource, r.Sub) && (len(l.names) == 0 || slices.Contains(l.names, r.Name))
}

func has[S ~string](list []S, v S) bool {
	return slices.Contains(list, v) || slices.Contains(list, "*")
}

// scoped compares the scope. A Namespace is in none, though its requests say its own name.
func (l *rule) scoped(r *Request) bool {
	if l.Scope == nil || *l.Scope == admissionregistrationv1.AllScopes {
		return true
	}
	inside := r.Namespace != "" && !r.aboutNamespaces()
	return inside == (*l.Scope == admissionregistrationv1.NamespacedScope)
}

func (l *rule) hasResource(resource, sub string) bool {
	for _, text := range l.Resources {
		res, s, _ := strings.Cut(text, "/")
		if (res == "*" || res == resource) && (s == "*" || s == sub) {
			return true
		}
	}
	return false
}

func (c *Criteria) matchNamespace(ctx context.Context, r *Request) (bool, error) {
	if r.Namespace == "" && !r.aboutNamespaces() {
		return true, nil
	}
	if c.namespaceErr != nil {
		return false, apierrors.NewInternalError(c.namespaceErr)
	}
	if c.namespaces.Empty() {
		return true, nil
	}
	if r.aboutNamespaces() && r.Sub == "" && (r.Operation == "CREATE" || r.Operation == "UPDATE") && r.Object != nil {
		return c.namespaces.Matches(labels.Set(r.Object.GetLabels())), nil
	}
	n, err := r.namespace(ctx)
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return c.namespaces.Matches(labels.Set(n.Labels)), nil
	case apierrors.IsNotFound(err) && errors.As(err, &status):
		return false, err
	}
	return false, apierrors.NewInternalError(err)
}

func (c *Criteria) matchObject(r *Request) (bool, error) {
	if c.partErr != nil {
		return false, apierrors.NewInternalError(c.partErr)
	}
	if c.objects.Empty() {
		return true, nil
	}
	return r.Object != nil && c.objects.Matches(labels.Set(r.Object.GetLabels())) ||
		r.Old != nil && c.objects.Matches(labels.Set(r.Old.GetLabels())), nil
}

// Exempt says whether a request is about what configures admission: no webhook and no policy is asked about that, so
// that a bad one can always be taken away.
func (r *Request) Exempt() bool {
	return r.Resource.Group == admissionregistrationv1.GroupName || r.Operation == "CONNECT" && r.Sub == "log"
}

func (r *Request) aboutNamespaces() bool {
	return r.Resource.Group == corev1.GroupName && r.Resource.Resource == "namespaces"
}
