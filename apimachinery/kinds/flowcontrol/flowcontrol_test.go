package flowcontrol_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/flowcontrol"
)

// A queue that is shuffled into more hands than a hash can tell apart is refused.
func Example() {
	p := &flowcontrolv1.PriorityLevelConfiguration{Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
		Type: flowcontrolv1.PriorityLevelEnablementLimited,
		Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{LimitResponse: flowcontrolv1.LimitResponse{
			Type: flowcontrolv1.LimitResponseTypeQueue, Queuing: &flowcontrolv1.QueuingConfiguration{Queues: 512},
		}},
	}}
	levels := flowcontrol.PriorityLevelConfigurations()
	levels.Default(p)
	for _, err := range levels.Validate(context.Background(), p, nil) {
		fmt.Println(err)
	}
	// Output: spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60
}

// Every cluster has these.
func ExampleBootstrap() {
	fmt.Println(len(flowcontrol.Bootstrap()), flowcontrol.Bootstrap()[0].GetName())
	// Output: 19 exempt
}

func text(errs field.ErrorList) (out []string) {
	for _, e := range errs {
		out = append(out, e.Field+" "+e.Type.String())
	}
	return out
}

// of finds the resource of an object.
func of(t *testing.T, o apimachinery.Object) apimachinery.Resource {
	r, err := apimachinery.NewRegistry(flowcontrol.Resources()...)
	require.NoError(t, err)
	found, ok := r.ForType(o)
	require.True(t, ok)
	return *found.Resource
}

// TestBootstrap: what every cluster has is valid, has its defaults, and names levels that are there.
func TestBootstrap(t *testing.T) {
	levels := map[string]bool{}
	for _, o := range flowcontrol.Bootstrap() {
		r := of(t, o)
		c := o.DeepCopyObject().(apimachinery.Object)
		r.Default(c)
		require.Equal(t, o, c)
		require.Empty(t, r.Validate(t.Context(), o, nil), o.GetName())
		for _, column := range r.Views[0].Columns {
			require.NotNil(t, column.Cell(o))
		}
		switch o := o.(type) {
		case *flowcontrolv1.PriorityLevelConfiguration:
			levels[o.Name] = true
		case *flowcontrolv1.FlowSchema:
			require.True(t, levels[o.Spec.PriorityLevelConfiguration.Name], o.Name)
			o.Spec.Rules[0].Subjects[0].Kind = "changed"
		}
	}
	for _, o := range flowcontrol.Bootstrap() {
		require.Empty(t, of(t, o).Validate(t.Context(), o, nil), "the objects are new each time")
	}
}

// TestFixed: the mandatory ones can't be changed, but for the shares of exempt.
func TestFixed(t *testing.T) {
	for _, o := range flowcontrol.Bootstrap() {
		mandatory, want := o.GetName() == "exempt" || o.GetName() == "catch-all", []string(nil)
		switch o := o.(type) {
		case *flowcontrolv1.PriorityLevelConfiguration:
			if o.Spec.Exempt != nil {
				*o.Spec.Exempt.LendablePercent, mandatory = 5, false
				break
			}
			*o.Spec.Limited.NominalConcurrencyShares++
		case *flowcontrolv1.FlowSchema:
			o.Spec.Rules = o.Spec.Rules[:0]
		}
		if mandatory {
			want = []string{"spec Invalid value"}
		}
		require.Equal(t, want, text(of(t, o).Validate(t.Context(), o, nil)), o.GetName())
	}
}

func TestFlowSchema(t *testing.T) {
	r := flowcontrol.FlowSchemas()
	subject := func(s flowcontrolv1.Subject) flowcontrolv1.FlowSchemaSpec {
		return flowcontrolv1.FlowSchemaSpec{
			MatchingPrecedence: 5, PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "a"},
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects:         []flowcontrolv1.Subject{s},
				NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/a/*"}}},
			}},
		}
	}
	user := flowcontrolv1.Subject{Kind: "User", User: &flowcontrolv1.UserSubject{Name: "a"}}
	for name, c := range map[string]struct {
		change func(*flowcontrolv1.FlowSchemaSpec)
		want   []string
	}{
		"good":         {func(*flowcontrolv1.FlowSchemaSpec) {}, nil},
		"precedence 1": {func(s *flowcontrolv1.FlowSchemaSpec) { s.MatchingPrecedence = 1 }, []string{"spec.matchingPrecedence Invalid value"}},
		"no level":     {func(s *flowcontrolv1.FlowSchemaSpec) { s.PriorityLevelConfiguration.Name = "" }, []string{"spec.priorityLevelConfiguration.name Required value"}},
		"wrong part": {func(s *flowcontrolv1.FlowSchemaSpec) { s.Rules[0].Subjects[0].Kind = "Group" }, []string{
			"spec.rules[0].subjects[0].user Forbidden", "spec.rules[0].subjects[0].group Required value",
		}},
		"unknown kind": {func(s *flowcontrolv1.FlowSchemaSpec) { s.Rules[0].Subjects[0].Kind = "Robot" }, []string{"spec.rules[0].subjects[0].kind Unsupported value"}},
		"bad path": {func(s *flowcontrolv1.FlowSchemaSpec) { s.Rules[0].NonResourceRules[0].NonResourceURLs[0] = "/a*" }, []string{
			"spec.rules[0].nonResourceRules[0].nonResourceURLs[0] Invalid value",
		}},
		"no rule": {func(s *flowcontrolv1.FlowSchemaSpec) { s.Rules[0].NonResourceRules = nil }, []string{"spec.rules[0] Required value"}},
	} {
		f := &flowcontrolv1.FlowSchema{Spec: *(&flowcontrolv1.FlowSchema{Spec: subject(user)}).Spec.DeepCopy()}
		c.change(&f.Spec)
		require.Equal(t, c.want, text(r.Validate(t.Context(), f, nil)), name)
	}

	old := &flowcontrolv1.FlowSchema{Spec: subject(user)}
	old.Generation = 3
	n := old.DeepCopy()
	n.Spec.MatchingPrecedence, n.Status.Conditions = 6, []flowcontrolv1.FlowSchemaCondition{{Type: "Dangling"}}
	r.Prepare(t.Context(), n, old)
	require.EqualValues(t, 4, n.Generation)
	require.Empty(t, n.Status.Conditions, "the status has a door of its own")
}
