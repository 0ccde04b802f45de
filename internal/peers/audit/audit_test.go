package audit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditconfig "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/audit"
)

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

// some is a list of none to two of these, in YAML.
func some(r *rand.Rand, from ...string) string {
	var list []string
	for range r.IntN(3) {
		list = append(list, fmt.Sprintf("%q", pick(r, from...)))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

var stages = []string{"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"}

func randomPolicy(r *rand.Rand) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitManagedFields: %v\nomitStages: %s\nrules:\n", r.IntN(2) == 0, some(r, stages...))
	for range 1 + r.IntN(4) {
		fmt.Fprintf(&b, "- {level: %s, users: %s, userGroups: %s, verbs: %s, omitStages: %s", pick(r, "None", "Metadata", "Request", "RequestResponse", "Bad"),
			some(r, "a", "b"), some(r, "g", "h"), some(r, "get", "list", "create"), some(r, append(stages, "Never")[:4+r.IntN(20)/19]...))
		if r.IntN(2) == 0 {
			fmt.Fprintf(&b, ", namespaces: %s, resources: [{group: %q, resources: %s, resourceNames: %s}]", some(r, "", "n"), pick(r, "", "*", "apps", "A!"),
				some(r, "pods", "pods/log", "pods/*", "*/log", "*", "nodes"), some(r, "x", "y"))
		} else if r.IntN(2) == 0 {
			fmt.Fprintf(&b, ", nonResourceURLs: %s", some(r, "*", "/healthz", "/api*", "/apis/*", "bad", "/a*b"))
		}
		if r.IntN(3) == 0 {
			fmt.Fprintf(&b, ", omitManagedFields: %v", r.IntN(2) == 0)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func TestPolicies(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	good := 0
	for range 5000 {
		text := randomPolicy(r)
		theirs, theirErr := policy.LoadPolicyFromBytes([]byte(text))
		ours, ourErr := audit.ParsePolicy([]byte(text))
		if theirErr != nil {
			require.Error(t, ourErr, "%s\n%v", text, theirErr)
			require.Equal(t, theirErr.Error(), ourErr.Error(), text)
			continue
		}
		require.NoError(t, ourErr, text)
		good++
		evaluator := policy.NewPolicyRuleEvaluator(theirs)
		a, err := audit.New(audit.Config{Policy: ours, File: &audit.File{Path: "-"}})
		require.NoError(t, err)
		for range 20 {
			compare(t, r, text, evaluator.EvaluatePolicyRule, a)
		}
	}
	require.Greater(t, good, 500)
}

// compare asks both about a request.
func compare(t *testing.T, r *rand.Rand, text string, theirs func(authorizer.Attributes) auditconfig.RequestAuditConfig, ours *audit.Auditor) {
	t.Helper()
	x := authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: pick(r, "a", "b", "c"), Groups: []string{pick(r, "g", "h", "i"), "j"}}, Verb: pick(r, "get", "list", "create", "watch"),
	}
	ev := &server.AuditEvent{User: apimachinery.User{Name: x.User.GetName(), Groups: x.User.GetGroups()}, Verb: x.Verb}
	if r.IntN(3) == 0 {
		x.Path = pick(r, "/healthz", "/api", "/apis/apps", "/other")
		ev.Path = x.Path
	} else {
		x.ResourceRequest, x.Namespace, x.APIGroup, x.APIVersion = true, pick(r, "", "n", "m"), pick(r, "", "apps"), "v1"
		x.Resource, x.Subresource, x.Name = pick(r, "pods", "nodes"), pick(r, "", "log", "status"), pick(r, "", "x", "z")
		ev.Resource = schema.GroupVersionResource{Group: x.APIGroup, Version: x.APIVersion, Resource: x.Resource}
		ev.Namespace, ev.Name, ev.Sub = x.Namespace, x.Name, x.Subresource
	}
	want, got := theirs(x), ours.Rule(ev)
	require.Equal(t, slices.Index(levels, want.Level), int(got.Level), "%s\n%+v", text, x)
	require.Equal(t, want.OmitManagedFields, got.OmitManagedFields, text)
	for _, s := range stages {
		require.Equal(t, slices.Contains(want.OmitStages, auditinternal.Stage(s)), slices.Contains(got.OmitStages, s), text)
	}
}

var levels = []auditinternal.Level{auditinternal.LevelNone, auditinternal.LevelMetadata, auditinternal.LevelRequest, auditinternal.LevelRequestResponse}
