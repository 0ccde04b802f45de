package rbac_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/rbac"
)

// ask is one concrete request of the oracle's universe; "other" stands for whatever no rule names.
type ask struct{ verb, group, resource, name, path string }

func universe() (all []ask) {
	for _, verb := range []string{"get", "create", "other"} {
		for _, path := range []string{"/metrics", "/metrics/a", "/metrics/other", "/other"} {
			all = append(all, ask{verb: verb, path: path})
		}
		for _, group := range []string{"", "apps", "other"} {
			for _, resource := range []string{"pods", "pods/log", "jobs", "jobs/log", "other", "other/log", "other/other", "pods/other"} {
				for _, name := range []string{"", "a", "b", "other"} {
					all = append(all, ask{verb, group, resource, name, ""})
				}
			}
		}
	}
	return all
}

// grants is the oracle: what a list of rules allows, by the words of the documentation and nothing else.
func grants(rules []rbacv1.PolicyRule, q ask) bool {
	in := func(list []string, match func(string) bool) bool {
		for _, s := range list {
			if match(s) {
				return true
			}
		}
		return false
	}
	for _, r := range rules {
		if !in(r.Verbs, func(s string) bool { return s == "*" || s == q.verb }) {
			continue
		}
		if q.path != "" {
			if in(r.NonResourceURLs, func(s string) bool {
				return s == q.path || s[len(s)-1] == '*' && strings.Index(q.path, s[:len(s)-1]) == 0
			}) {
				return true
			}
			continue
		}
		_, sub, isSub := strings.Cut(q.resource, "/")
		if in(r.APIGroups, func(s string) bool { return s == "*" || s == q.group }) &&
			in(r.Resources, func(s string) bool { return s == "*" || s == q.resource || isSub && s == "*/"+sub }) &&
			(len(r.ResourceNames) == 0 || q.name != "" && in(r.ResourceNames, func(s string) bool { return s == q.name })) {
			return true
		}
	}
	return false
}

func pick(r *rand.Rand, from ...string) []string {
	var out []string
	for range 1 + r.IntN(2) {
		out = append(out, from[r.IntN(len(from))])
	}
	return out
}

func randomRules(r *rand.Rand, most int) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for range 1 + r.IntN(most) {
		rule := rbacv1.PolicyRule{Verbs: pick(r, "get", "create", "get", "create", "*")}
		if r.IntN(5) == 0 {
			rule.NonResourceURLs = pick(r, "/metrics", "/metrics/*", "/metrics/a", "*")
		} else {
			rule.APIGroups = pick(r, "", "apps", "*")
			rule.Resources = pick(r, "pods", "pods/log", "jobs", "jobs/log", "*/log", "*")
			if r.IntN(3) == 0 {
				rule.ResourceNames = pick(r, "a", "b")
			}
		}
		out = append(out, rule)
	}
	return out
}

// TestNobodyGrantsMoreThanTheyHave makes 10,000 random attempts at writing roles and bindings, and compares each
// verdict with the oracle: allowed if and only if everything that is granted is held, or escalate or bind is.
func TestNobodyGrantsMoreThanTheyHave(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	asks := universe()
	counts := map[bool]int{}
	for i := range 10_000 {
		inCluster, inNamespace, wanted := randomRules(r, 4), randomRules(r, 4), randomRules(r, 2)
		special := r.IntN(20)
		extra := map[int]rbacv1.PolicyRule{
			0: on(l{"escalate"}, l{rbacv1.GroupName}, l{"roles", "clusterroles"}),
			1: on(l{"bind"}, l{rbacv1.GroupName}, l{"roles", "clusterroles"}),
			2: on(l{"bind"}, l{rbacv1.GroupName}, l{"roles", "clusterroles"}, "wanted"),
			3: on(l{"bind", "escalate"}, l{rbacv1.GroupName}, l{"roles", "clusterroles"}, "unrelated"),
			4: on(l{"escalate"}, l{"apps"}, l{"roles", "clusterroles"}),
		}
		if rule, ok := extra[special]; ok {
			inCluster = append(inCluster, rule)
		}
		x := index(t,
			clusterRole("cluster", inCluster...), clusterBinding("cluster", "cluster", userSubject("eve")),
			role("ns", "local", inNamespace...), roleBinding("ns", "local", "Role", "local", userSubject("eve")),
			role("elsewhere", "all", on(l{"*"}, l{"*"}, l{"*"})), roleBinding("elsewhere", "all", "Role", "all", userSubject("eve")),
			role("ns", "wanted", wanted...), clusterRole("wanted", wanted...),
		)
		a, namespaced, binds := attempt(r, wanted)
		held := inCluster
		if namespaced {
			held = append(append([]rbacv1.PolicyRule{}, inCluster...), inNamespace...)
		}
		star := func(verb string) bool { // does a random rule give escalate or bind by accident?
			q := ask{verb: verb, group: rbacv1.GroupName, resource: a.Resource.Resource, name: a.Name}
			if binds {
				q.resource, q.name = "clusterroles", "wanted"
				if b, ok := a.Object.(*rbacv1.RoleBinding); ok && b.RoleRef.Kind == "Role" {
					q.resource = "roles"
				}
			}
			return grants(held, q)
		}
		want := true
		for _, q := range asks {
			want = want && (!grants(wanted, q) || grants(held, q))
		}
		want = want || binds && star("bind") || !binds && star("escalate")
		err := validator(x).Validate(t.Context(), a)
		require.Equal(t, want, err == nil, "attempt %d of seed %d: %s\ncluster %v\nns %v\nwanted %v\n%v", i, seed, a.Resource.Resource, inCluster, inNamespace, wanted, err)
		if err != nil {
			require.True(t, apierrors.IsForbidden(err), err)
		}
		counts[want]++
	}
	require.Greater(t, counts[true], 500)
	require.Greater(t, counts[false], 500)
}

func validator(x *rbac.Index) apimachinery.Validator {
	return rbac.NoEscalation(x, rbac.Union(rbac.Masters(), rbac.New(x))).Validate
}

// attempt is a write of eve's that would grant the wanted rules.
func attempt(r *rand.Rand, wanted []rbacv1.PolicyRule) (a *apimachinery.Admission, namespaced, binds bool) {
	a = &apimachinery.Admission{User: apimachinery.User{Name: "eve"}, Operation: "CREATE", Name: "new"}
	resource := ""
	switch r.IntN(4) {
	case 0:
		resource, a.Object, namespaced = "roles", role("ns", "new", wanted...), true
	case 1:
		resource, a.Object = "clusterroles", clusterRole("new", wanted...)
	case 2:
		kind := []string{"Role", "ClusterRole"}[r.IntN(2)]
		resource, a.Object, namespaced, binds = "rolebindings", roleBinding("ns", "new", kind, "wanted", userSubject("friend")), true, true
	case 3:
		resource, a.Object, binds = "clusterrolebindings", clusterBinding("new", "wanted", userSubject("friend")), true
	}
	if namespaced {
		a.Namespace = "ns"
	}
	a.Resource = rbacv1.SchemeGroupVersion.WithResource(resource)
	return a, namespaced, binds
}

func TestEscalationCorners(t *testing.T) {
	x := index(t, rbac.Bootstrap()...)
	require.NoError(t, x.Set(clusterBinding("adm", "admin", userSubject("adm"))))
	v := validator(x)
	write := func(user string, o, old apimachinery.Object, resource string, groups ...string) error {
		return v.Validate(t.Context(), &apimachinery.Admission{
			User: apimachinery.User{Name: user, Groups: groups}, Operation: "UPDATE", Object: o, Old: old,
			Name: o.GetName(), Namespace: o.GetNamespace(), Resource: rbacv1.SchemeGroupVersion.WithResource(resource),
		})
	}
	everything := clusterRole("x", on(l{"*"}, l{"*"}, l{"*"}))
	require.NoError(t, write("root", everything, nil, "clusterroles", "system:masters"))
	err := write("adm", everything, nil, "clusterroles")
	require.ErrorContains(t, err, `user "adm" (groups=[]) is attempting to grant RBAC permissions not currently held:`+"\n"+`{APIGroups:["*"], Resources:["*"], Verbs:["*"]}`)

	aggregates := clusterRole("x")
	aggregates.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}
	require.Error(t, write("adm", aggregates, nil, "clusterroles"), "to aggregate takes everything")

	touched := everything.DeepCopy()
	touched.OwnerReferences = []metav1.OwnerReference{{Name: "o"}}
	require.NoError(t, write("adm", touched, everything, "clusterroles"), "the garbage collector may let go")
	touched.Labels = map[string]string{"rbac.authorization.k8s.io/aggregate-to-view": "true"}
	require.Error(t, write("adm", touched, everything, "clusterroles"), "a label makes others collect it")

	err = write("adm", clusterBinding("x", "missing", userSubject("u")), nil, "clusterrolebindings")
	require.True(t, apierrors.IsNotFound(err), err)
	require.NoError(t, write("adm", roleBinding("ns", "x", "ClusterRole", "view", userSubject("u")), nil, "rolebindings"))
	require.NoError(t, write(rbac.ControllerUser("clusterrole-aggregation-controller"), everything, nil, "clusterroles"))

	many := clusterRole("x")
	for i := range 100 {
		many.Rules = append(many.Rules, on(l{"get"}, l{"g"}, l{fmt.Sprint(i)}))
	}
	require.ErrorContains(t, write("adm", many, nil, "clusterroles"), "and 50 more")
}
