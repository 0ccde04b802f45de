package audit

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery/server"
)

// ReadPolicy reads the policy in a file.
func ReadPolicy(file string) (*auditv1.Policy, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read audit policy: %w", err)
	}
	p, err := ParsePolicy(raw)
	if err != nil {
		return nil, fmt.Errorf("audit policy %s: %w", file, err)
	}
	return p, nil
}

// ParsePolicy reads a policy in YAML or JSON, and refuses what Kubernetes' validation refuses, and fields that are
// unknown or doubled.
func ParsePolicy(raw []byte) (*auditv1.Policy, error) {
	p := &auditv1.Policy{}
	if err := yaml.UnmarshalStrict(raw, p); err != nil {
		return nil, err
	}
	if p.APIVersion != auditv1.SchemeGroupVersion.String() || p.Kind != "Policy" {
		return nil, fmt.Errorf("it is a %q %q: it must be a %s Policy", p.APIVersion, p.Kind, auditv1.SchemeGroupVersion)
	}
	return p, validate(p)
}

var stages = []auditv1.Stage{
	auditv1.StageRequestReceived, auditv1.StageResponseStarted, auditv1.StageResponseComplete, auditv1.StagePanic,
}

var levels = map[auditv1.Level]server.AuditLevel{
	auditv1.LevelNone: server.AuditNone, auditv1.LevelMetadata: server.AuditMetadata,
	auditv1.LevelRequest: server.AuditRequest, auditv1.LevelRequestResponse: server.AuditRequestResponse,
}

var levelNames = []auditv1.Level{auditv1.LevelNone, auditv1.LevelMetadata, auditv1.LevelRequest, auditv1.LevelRequestResponse}

func validate(p *auditv1.Policy) error {
	errs := validateStages(p.OmitStages, field.NewPath("omitStages"))
	for i, r := range p.Rules {
		errs = append(errs, validateRule(&r, field.NewPath("rules").Index(i))...)
	}
	if len(errs) == 0 && len(p.Rules) == 0 {
		return errors.New("it has no rules")
	}
	return errs.ToAggregate()
}

func validateRule(r *auditv1.PolicyRule, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if _, known := levels[r.Level]; r.Level == "" {
		errs = append(errs, field.Required(at.Child("level"), ""))
	} else if !known {
		errs = append(errs, field.NotSupported(at.Child("level"), r.Level, levelNames))
	}
	urls := at.Child("nonResourceURLs")
	for i, url := range r.NonResourceURLs {
		switch {
		case url == "*":
		case !strings.HasPrefix(url, "/"):
			errs = append(errs, field.Invalid(urls.Index(i), url, "non-resource URL rules must begin with a '/' character"))
		case strings.Contains(url[:len(url)-1], "*"):
			errs = append(errs, field.Invalid(urls.Index(i), url, "non-resource URL wildcards '*' must be the final character of the rule"))
		}
	}
	for _, g := range r.Resources {
		errs = append(errs, validateGroup(&g, at.Child("resources"))...)
	}
	errs = append(errs, validateStages(r.OmitStages, at.Child("omitStages"))...)
	if len(r.NonResourceURLs) > 0 && len(r.Resources)+len(r.Namespaces) > 0 {
		errs = append(errs, field.Invalid(urls, r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
	}
	return errs
}

func validateGroup(g *auditv1.GroupResources, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if g.Group != "" && g.Group != "*" {
		if msgs := validation.NameIsDNSSubdomain(g.Group, false); len(msgs) > 0 {
			errs = append(errs, field.Invalid(at.Child("group"), g.Group, strings.Join(msgs, ",")))
		}
	}
	if len(g.ResourceNames) > 0 && len(g.Resources) == 0 {
		errs = append(errs, field.Invalid(at.Child("resourceNames"), g.ResourceNames, "using resourceNames requires at least one resource"))
	}
	return errs
}

func validateStages(given []auditv1.Stage, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, s := range given {
		if !slices.Contains(stages, s) {
			errs = append(errs, field.Invalid(at.Index(i), s, "allowed stages are "+joined(stages)))
		}
	}
	return errs
}

func joined[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = string(s)
	}
	return strings.Join(texts, ",")
}

// rule is a policy's rule as it is asked.
type rule struct {
	auditv1.PolicyRule
	server.AuditRule
}

// rules are those of a policy in order; the last matches everything that no rule does.
func rulesOf(p *auditv1.Policy) []rule {
	make := func(r auditv1.PolicyRule) rule {
		out := rule{PolicyRule: r, AuditRule: server.AuditRule{Level: levels[r.Level], OmitManagedFields: p.OmitManagedFields}}
		if r.OmitManagedFields != nil {
			out.AuditRule.OmitManagedFields = *r.OmitManagedFields
		}
		for _, s := range slices.Concat(p.OmitStages, r.OmitStages) {
			out.AuditRule.OmitStages = append(out.AuditRule.OmitStages, string(s))
		}
		return out
	}
	var all []rule
	for _, r := range p.Rules {
		all = append(all, make(r))
	}
	return append(all, make(auditv1.PolicyRule{Level: auditv1.LevelNone}))
}

// matches says whether the rule is about a request.
func (r *rule) matches(ev *server.AuditEvent) bool {
	if len(r.Users) > 0 && !slices.Contains(r.Users, ev.User.Name) {
		return false
	}
	if len(r.UserGroups) > 0 && !slices.ContainsFunc(ev.User.Groups, func(g string) bool { return slices.Contains(r.UserGroups, g) }) {
		return false
	}
	if len(r.Verbs) > 0 && !slices.Contains(r.Verbs, ev.Verb) {
		return false
	}
	switch {
	case len(r.Namespaces) > 0 || len(r.Resources) > 0:
		return ev.Path == "" && r.matchesResource(ev)
	case len(r.NonResourceURLs) > 0:
		return ev.Path != "" && slices.ContainsFunc(r.NonResourceURLs, func(url string) bool { return matchesPath(url, ev.Path) })
	}
	return true
}

func matchesPath(url, path string) bool {
	prefix, wild := strings.CutSuffix(url, "*")
	return url == path || wild && strings.HasPrefix(path, prefix)
}

func (r *rule) matchesResource(ev *server.AuditEvent) bool {
	if len(r.Namespaces) > 0 && !slices.Contains(r.Namespaces, ev.Namespace) {
		return false
	}
	return len(r.Resources) == 0 || slices.ContainsFunc(r.Resources, func(g auditv1.GroupResources) bool { return matchesGroup(&g, ev) })
}

func matchesGroup(g *auditv1.GroupResources, ev *server.AuditEvent) bool {
	if g.Group != "*" && g.Group != ev.Resource.Group {
		return false
	}
	if len(g.Resources) == 0 {
		return true
	}
	if len(g.ResourceNames) > 0 && !slices.Contains(g.ResourceNames, ev.Name) {
		return false
	}
	return slices.ContainsFunc(g.Resources, func(name string) bool {
		resource, sub, hasSub := strings.Cut(name, "/")
		switch {
		case name == "*":
			return true
		case !hasSub:
			return ev.Sub == "" && resource == ev.Resource.Resource
		case sub == "*":
			return resource == ev.Resource.Resource
		}
		return sub == ev.Sub && (resource == "*" || resource == ev.Resource.Resource)
	})
}
