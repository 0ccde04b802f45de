package fairness

import (
	"slices"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const exempt, catchAll = flowcontrolv1.PriorityLevelConfigurationNameExempt, flowcontrolv1.PriorityLevelConfigurationNameCatchAll

// withMandatory adds the levels and schemas without which no server is, where they are missing. The slices are new.
func withMandatory(levels []*flowcontrolv1.PriorityLevelConfiguration, schemas []*flowcontrolv1.FlowSchema) ([]*flowcontrolv1.PriorityLevelConfiguration, []*flowcontrolv1.FlowSchema) {
	levels, schemas = slices.Clone(levels), slices.Clone(schemas)
	for _, m := range []*flowcontrolv1.PriorityLevelConfiguration{exemptLevel(), catchAllLevel()} {
		if !slices.ContainsFunc(levels, func(p *flowcontrolv1.PriorityLevelConfiguration) bool { return p.Name == m.Name }) {
			levels = append(levels, m)
		}
	}
	for _, m := range []*flowcontrolv1.FlowSchema{
		schemaOf(exempt, 1, "", "system:masters"),
		schemaOf(catchAll, 10000, flowcontrolv1.FlowDistinguisherMethodByUserType, "system:unauthenticated", "system:authenticated"),
	} {
		if !slices.ContainsFunc(schemas, func(s *flowcontrolv1.FlowSchema) bool { return s.Name == m.Name }) {
			schemas = append(schemas, m)
		}
	}
	return levels, schemas
}

func exemptLevel() *flowcontrolv1.PriorityLevelConfiguration {
	p := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: exempt}}
	p.Spec.Type, p.Spec.Exempt = flowcontrolv1.PriorityLevelEnablementExempt, &flowcontrolv1.ExemptPriorityLevelConfiguration{}
	return p
}

func catchAllLevel() *flowcontrolv1.PriorityLevelConfiguration {
	five, none := int32(5), int32(0)
	p := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: catchAll}}
	p.Spec.Type = flowcontrolv1.PriorityLevelEnablementLimited
	p.Spec.Limited = &flowcontrolv1.LimitedPriorityLevelConfiguration{
		NominalConcurrencyShares: &five, LendablePercent: &none,
		LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject},
	}
	return p
}

func schemaOf(name string, precedence int32, by flowcontrolv1.FlowDistinguisherMethodType, groups ...string) *flowcontrolv1.FlowSchema {
	all := []string{everything}
	rule := flowcontrolv1.PolicyRulesWithSubjects{
		ResourceRules: []flowcontrolv1.ResourcePolicyRule{{
			Verbs: all, APIGroups: all, Resources: all, Namespaces: all, ClusterScope: true,
		}},
		NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: all, NonResourceURLs: all}},
	}
	for _, g := range groups {
		rule.Subjects = append(rule.Subjects, flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindGroup, Group: &flowcontrolv1.GroupSubject{Name: g}})
	}
	s := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: name}}
	s.Spec.PriorityLevelConfiguration.Name, s.Spec.MatchingPrecedence = name, precedence
	s.Spec.Rules = []flowcontrolv1.PolicyRulesWithSubjects{rule}
	if by != "" {
		s.Spec.DistinguisherMethod = &flowcontrolv1.FlowDistinguisherMethod{Type: by}
	}
	return s
}
