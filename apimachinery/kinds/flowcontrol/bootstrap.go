package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// Bootstrap returns the objects that Kubernetes makes in every cluster, with defaults filled in: the mandatory ones,
// which can't be changed, and the suggested ones, which can. Priority levels come before the schemas that name them.
// The objects are new each time.
func Bootstrap() []apimachinery.Object {
	var out []apimachinery.Object
	for _, p := range levels() {
		out = append(out, p)
	}
	for _, f := range schemas() {
		out = append(out, f)
	}
	return out
}

func mandatoryLevel(name string) *flowcontrolv1.PriorityLevelConfiguration {
	switch name {
	case flowcontrolv1.PriorityLevelConfigurationNameExempt:
		return exemptLevel()
	case flowcontrolv1.PriorityLevelConfigurationNameCatchAll:
		return catchAllLevel()
	}
	return nil
}

func mandatorySchemas() map[string]*flowcontrolv1.FlowSchema {
	out := map[string]*flowcontrolv1.FlowSchema{}
	for _, f := range schemas() {
		if f.Name == flowcontrolv1.FlowSchemaNameExempt || f.Name == flowcontrolv1.FlowSchemaNameCatchAll {
			out[f.Name] = f
		}
	}
	return out
}

// bootstrapped says that the server keeps the spec as it makes it, until somebody says otherwise.
func bootstrapped(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Annotations: map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: "true"}}
}

func levels() []*flowcontrolv1.PriorityLevelConfiguration {
	return []*flowcontrolv1.PriorityLevelConfiguration{
		exemptLevel(), catchAllLevel(),
		queuedLevel("system", 30, 33, 64, 6),
		queuedLevel("node-high", 40, 25, 64, 6),
		queuedLevel("leader-election", 10, 0, 16, 4),
		queuedLevel("workload-high", 40, 50, 128, 6),
		queuedLevel("workload-low", 100, 90, 128, 6),
		queuedLevel("global-default", 20, 50, 128, 6),
	}
}

func exemptLevel() *flowcontrolv1.PriorityLevelConfiguration {
	p := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: bootstrapped(flowcontrolv1.PriorityLevelConfigurationNameExempt)}
	p.Spec = flowcontrolv1.PriorityLevelConfigurationSpec{
		Type: flowcontrolv1.PriorityLevelEnablementExempt, Exempt: &flowcontrolv1.ExemptPriorityLevelConfiguration{},
	}
	defaultLevel(&p.Spec)
	return p
}

func catchAllLevel() *flowcontrolv1.PriorityLevelConfiguration {
	return limitedLevel(flowcontrolv1.PriorityLevelConfigurationNameCatchAll, 5, 0, flowcontrolv1.LimitResponse{
		Type: flowcontrolv1.LimitResponseTypeReject,
	})
}

func queuedLevel(name string, shares, lendable, queues, hand int32) *flowcontrolv1.PriorityLevelConfiguration {
	return limitedLevel(name, shares, lendable, flowcontrolv1.LimitResponse{
		Type:    flowcontrolv1.LimitResponseTypeQueue,
		Queuing: &flowcontrolv1.QueuingConfiguration{Queues: queues, HandSize: hand, QueueLengthLimit: 50},
	})
}

func limitedLevel(name string, shares, lendable int32, r flowcontrolv1.LimitResponse) *flowcontrolv1.PriorityLevelConfiguration {
	return &flowcontrolv1.PriorityLevelConfiguration{
		ObjectMeta: bootstrapped(name),
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
				NominalConcurrencyShares: &shares, LendablePercent: &lendable, LimitResponse: r,
			},
		},
	}
}

// The groups and users that the schemas are about.
var (
	everyone   = []flowcontrolv1.Subject{group("system:unauthenticated"), group("system:authenticated")}
	nodes      = []flowcontrolv1.Subject{group("system:nodes")}
	manager    = user("system:kube-controller-manager")
	scheduler  = user("system:kube-scheduler")
	kubeSystem = flowcontrolv1.Subject{
		Kind:           flowcontrolv1.SubjectKindServiceAccount,
		ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Namespace: metav1.NamespaceSystem, Name: all},
	}
)

const (
	byUser      = flowcontrolv1.FlowDistinguisherMethodByUserType
	byNamespace = flowcontrolv1.FlowDistinguisherMethodByNamespaceType
)

func schemas() []*flowcontrolv1.FlowSchema {
	leases := []string{"leases"}
	const coordination = "coordination.k8s.io"
	return []*flowcontrolv1.FlowSchema{
		schemaOf("exempt", "exempt", 1, "", anything(group("system:masters"))),
		schemaOf("catch-all", "catch-all", maxPrecedence, byUser, anything(everyone...)),
		schemaOf("probes", "exempt", 2, "", flowcontrolv1.PolicyRulesWithSubjects{
			Subjects:         everyone,
			NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/readyz", "/livez"}}},
		}),
		schemaOf("system-leader-election", "leader-election", 100, byUser, flowcontrolv1.PolicyRulesWithSubjects{
			Subjects:      []flowcontrolv1.Subject{manager, scheduler, kubeSystem},
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{on(coordination, leases, false, "get", "create", "update")},
		}),
		schemaOf("system-node-high", "node-high", 400, byUser, flowcontrolv1.PolicyRulesWithSubjects{
			Subjects: nodes,
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{
				on("", []string{"nodes", "nodes/status"}, true, all), on(coordination, leases, false, all),
			},
		}),
		schemaOf("system-nodes", "system", 500, byUser, anything(nodes...)),
		schemaOf("kube-controller-manager", "workload-high", 800, byNamespace, anything(manager)),
		schemaOf("kube-scheduler", "workload-high", 800, byNamespace, anything(scheduler)),
		schemaOf("kube-system-service-accounts", "workload-high", 900, byNamespace, anything(kubeSystem)),
		schemaOf("service-accounts", "workload-low", 9000, byUser, anything(group("system:serviceaccounts"))),
		schemaOf("global-default", "global-default", 9900, byUser, anything(everyone...)),
	}
}

func group(name string) flowcontrolv1.Subject {
	return flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindGroup, Group: &flowcontrolv1.GroupSubject{Name: name}}
}

func user(name string) flowcontrolv1.Subject {
	return flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: name}}
}

func schemaOf(name, level string, precedence int32, by flowcontrolv1.FlowDistinguisherMethodType, rules flowcontrolv1.PolicyRulesWithSubjects) *flowcontrolv1.FlowSchema {
	f := &flowcontrolv1.FlowSchema{
		ObjectMeta: bootstrapped(name),
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: level},
			MatchingPrecedence:         precedence, Rules: []flowcontrolv1.PolicyRulesWithSubjects{rules},
		},
	}
	if by != "" {
		f.Spec.DistinguisherMethod = &flowcontrolv1.FlowDistinguisherMethod{Type: by}
	}
	return f.DeepCopy() // subjects are shared
}

// anything is whatever somebody asks for.
func anything(subjects ...flowcontrolv1.Subject) flowcontrolv1.PolicyRulesWithSubjects {
	return flowcontrolv1.PolicyRulesWithSubjects{
		Subjects:         subjects,
		ResourceRules:    []flowcontrolv1.ResourcePolicyRule{on(all, []string{all}, true, all)},
		NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{all}, NonResourceURLs: []string{all}}},
	}
}

// on is a rule about resources of one group, in all namespaces.
func on(group string, resources []string, cluster bool, verbs ...string) flowcontrolv1.ResourcePolicyRule {
	return flowcontrolv1.ResourcePolicyRule{
		Verbs: verbs, APIGroups: []string{group}, Resources: resources, Namespaces: []string{all}, ClusterScope: cluster,
	}
}
