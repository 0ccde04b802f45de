package server_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"context"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
)

var (
	flowSchemas    = flowcontrolv1.SchemeGroupVersion.WithResource("flowschemas")
	priorityLevels = flowcontrolv1.SchemeGroupVersion.WithResource("prioritylevelconfigurations")
)

// flowKinds are the kinds of flow control without their rules, which are those of package kinds/flowcontrol.
func flowKinds() []apimachinery.Resource {
	sub := map[string]apimachinery.Subresource{"status": {
		Verbs: []string{"get", "patch", "update"}, Strategy: &apimachinery.Strategy{Owned: []string{"status"}},
	}}
	return []apimachinery.Resource{
		{
			Name: flowSchemas.GroupResource(), New: func() apimachinery.Object { return &flowcontrolv1.FlowSchema{} }, Subs: sub,
			Views: []apimachinery.View{{GroupVersionKind: flowcontrolv1.SchemeGroupVersion.WithKind("FlowSchema"), Plural: "flowschemas"}},
		},
		{
			Name: priorityLevels.GroupResource(), New: func() apimachinery.Object { return &flowcontrolv1.PriorityLevelConfiguration{} }, Subs: sub,
			Views: []apimachinery.View{{GroupVersionKind: flowcontrolv1.SchemeGroupVersion.WithKind("PriorityLevelConfiguration"), Plural: "prioritylevelconfigurations"}},
		},
	}
}

func withFlowKinds(t testing.TB, more func(*server.Config)) func(*server.Config) {
	return func(c *server.Config) {
		r, err := apimachinery.NewRegistry(append(resources(), flowKinds()...)...)
		require.NoError(t, err)
		c.Registry = r
		if more != nil {
			more(c)
		}
	}
}

// level makes a priority level and the schema of a group in it.
func (w *world) level(name, group string, queues int32) (schema, level string) {
	w.t.Helper()
	admin := w.s.As(apimachinery.User{Name: "admin", Groups: []string{"system:masters"}})
	shares := int32(5)
	l := &flowcontrolv1.PriorityLevelConfiguration{}
	l.Name, l.Spec.Type = name, flowcontrolv1.PriorityLevelEnablementLimited
	l.Spec.Limited = &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &shares}
	l.Spec.Limited.LimitResponse.Type = flowcontrolv1.LimitResponseTypeReject
	if queues > 0 {
		l.Spec.Limited.LimitResponse.Type = flowcontrolv1.LimitResponseTypeQueue
		l.Spec.Limited.LimitResponse.Queuing = &flowcontrolv1.QueuingConfiguration{Queues: queues, HandSize: 1, QueueLengthLimit: 5}
	}
	l = must[flowcontrolv1.PriorityLevelConfiguration](w.t, admin, &apimachinery.Request{Verb: "create", Resource: priorityLevels, Object: l})
	all := []string{"*"}
	f := &flowcontrolv1.FlowSchema{}
	f.Name, f.Spec.MatchingPrecedence, f.Spec.PriorityLevelConfiguration.Name = name, 100, name
	f.Spec.Rules = []flowcontrolv1.PolicyRulesWithSubjects{{
		Subjects:         []flowcontrolv1.Subject{{Kind: "Group", Group: &flowcontrolv1.GroupSubject{Name: group}}},
		ResourceRules:    []flowcontrolv1.ResourcePolicyRule{{Verbs: all, APIGroups: all, Resources: all, Namespaces: all, ClusterScope: true}},
		NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: all, NonResourceURLs: all}},
	}}
	f = must[flowcontrolv1.FlowSchema](w.t, admin, &apimachinery.Request{Verb: "create", Resource: flowSchemas, Object: f})
	require.Eventually(w.t, func() bool {
		_, h, _ := w.ask("GET", "/version", "", "Test-User", "x", "Test-Group", group)
		return h.Get("X-Kubernetes-Pf-Flowschema-Uid") == string(f.UID)
	}, 30*time.Second, 5*time.Millisecond, "the server follows its own table")
	return string(f.UID), string(l.UID)
}

func TestPriorityAndFairness(t *testing.T) {
	enter, leave := make(chan struct{}), make(chan struct{})
	gate := apimachinery.AuthorizerFunc(func(_ context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
		if a.User.Name == "slow" {
			enter <- struct{}{}
			<-leave
		}
		return apimachinery.Allow, "", nil
	})
	metrics := prometheus.NewRegistry()
	w := start(t, withFlowKinds(t, func(c *server.Config) {
		c.Authorizer, c.Limits.Reads, c.Limits.Writes, c.Registerer = gate, 3, 1, metrics
	}))
	code, h, _ := w.ask("GET", "/api/v1/configmaps", "")
	require.Equal(t, 200, code)
	require.Contains(t, h, "X-Kubernetes-Pf-Flowschema-Uid", "the mandatory schemas hold before anything is loaded")

	schema, level := w.level("crowd", "crowd", 0) // 2 seats of 4
	slow := w.s.As(apimachinery.User{Name: "slow", Groups: []string{"crowd"}})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { _, _ = slow.Do(t.Context(), get(configMaps, "x")) })
		<-enter
	}
	code, h, body := w.ask("GET", "/api/v1/configmaps", "", "Test-User", "u", "Test-Group", "crowd")
	require.Equal(t, 429, code)
	require.Equal(t, "1", h.Get("Retry-After"))
	require.Equal(t, schema, h.Get("X-Kubernetes-Pf-Flowschema-Uid"))
	require.Equal(t, level, h.Get("X-Kubernetes-Pf-Prioritylevel-Uid"))
	require.Equal(t, metav1.StatusReasonTooManyRequests, statusIn(t, body).Reason)
	code, _, _ = w.ask("GET", "/version", "", "Test-User", "u", "Test-Group", "crowd")
	require.Equal(t, 429, code, "paths take seats, too")
	for range 20 {
		code, _, _ = w.ask("GET", "/api/v1/configmaps", "", "Test-User", "admin", "Test-Group", "system:masters")
		require.Equal(t, 200, code)
	}
	code, _, body = w.ask("GET", "/api/v1/configmaps", "", "Test-User", "other")
	require.Equal(t, 200, code, "another level has seats: %s", body)
	_, _, body = w.ask("GET", "/debug/api_priority_and_fairness/dump_requests?includeRequestDetails=1", "")
	require.Regexp(t, `crowd, +crowd, +-1, +-1,.* slow, +get,`, string(body))
	close(leave)
	wg.Wait()
	var watches []*watching
	for range 5 {
		watches = append(watches, watch(t, w.conn, configMaps, metav1.ListOptions{ResourceVersion: "0"}))
	}
	require.Len(t, watches, 5, "a watch has its seat only until it has begun")
	all, err := metrics.Gather()
	require.NoError(t, err)
	require.NotEmpty(t, all)
}

func TestConditionsOfFlowSchemas(t *testing.T) {
	w := start(t, withFlowKinds(t, nil))
	w.level("there", "there", 2)
	admin := w.s.As(apimachinery.User{Name: "admin", Groups: []string{"system:masters"}})
	f := &flowcontrolv1.FlowSchema{}
	f.Name, f.Spec.MatchingPrecedence, f.Spec.PriorityLevelConfiguration.Name = "lost", 200, "nowhere"
	must[flowcontrolv1.FlowSchema](t, admin, &apimachinery.Request{Verb: "create", Resource: flowSchemas, Object: f})
	condition := func(name string) (c flowcontrolv1.FlowSchemaCondition) {
		require.Eventually(t, func() bool {
			f := must[flowcontrolv1.FlowSchema](t, admin, &apimachinery.Request{Verb: "get", Resource: flowSchemas, Name: name})
			if len(f.Status.Conditions) == 1 {
				c = f.Status.Conditions[0]
			}
			return c.Type == flowcontrolv1.FlowSchemaConditionDangling
		}, 30*time.Second, 10*time.Millisecond)
		return c
	}
	c := condition("there")
	require.Equal(t, flowcontrolv1.ConditionFalse, c.Status)
	require.Equal(t, "Found", c.Reason)
	c = condition("lost")
	require.Equal(t, flowcontrolv1.ConditionTrue, c.Status)
	require.Equal(t, `This FlowSchema references the PriorityLevelConfiguration object named "nowhere" but there is no such object`, c.Message)
}

func TestRequestsThatWaitAreServedInTurn(t *testing.T) {
	w := start(t, withFlowKinds(t, func(c *server.Config) { c.Limits.Reads, c.Limits.Writes = 2, 2 }))
	w.level("crowd", "crowd", 8)
	var wg sync.WaitGroup
	codes := make(chan int, 200)
	for i := range 40 {
		wg.Go(func() {
			for range 5 {
				req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/api/v1/configmaps", nil)
				if err != nil {
					panic(err)
				}
				req.Header.Set("Test-User", string(rune('a'+i%8)))
				req.Header.Set("Test-Group", "crowd")
				resp, err := w.http.Do(req)
				if err != nil {
					panic(err)
				}
				_ = resp.Body.Close()
				codes <- resp.StatusCode
			}
		})
	}
	wg.Wait()
	close(codes)
	served := 0
	for c := range codes {
		require.Contains(t, []int{200, 429}, c)
		if c == 200 {
			served++
		}
	}
	require.Greater(t, served, 40)
}
