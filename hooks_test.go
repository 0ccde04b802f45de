package bedplate_test

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// asking is a webhook's server, which keeps what it was asked.
type asking struct {
	t      *testing.T
	url    string
	bundle []byte
	mu     sync.Mutex
	asked  []*admissionv1.AdmissionRequest
	answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse
	raw    http.HandlerFunc // instead
}

func newAsking(t *testing.T) *asking {
	a := &asking{t: t}
	s := httptest.NewTLSServer(a)
	t.Cleanup(s.Close)
	a.url = s.URL
	a.bundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return a
}

func (a *asking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	review := &admissionv1.AdmissionReview{}
	if err := json.Unmarshal(body, review); err != nil || review.Request == nil {
		http.Error(w, "no review", 400)
		return
	}
	controller := strings.HasPrefix(review.Request.UserInfo.Username, "system:serviceaccount:") // they work beside the test
	if !controller {
		a.asked = append(a.asked, review.Request)
	}
	if !controller && a.raw != nil {
		a.raw(w, r)
		return
	}
	out := &admissionv1.AdmissionResponse{Allowed: true}
	if !controller && a.answer != nil {
		out = a.answer(review.Request)
	}
	if out.UID == "" {
		out.UID = review.Request.UID
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(&admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: out})
}

// does sets how it answers from now on, and forgets what it was asked.
func (a *asking) does(answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked, a.answer, a.raw = nil, answer, nil
}

func (a *asking) was() []*admissionv1.AdmissionRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

func patch(text string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte(text), PatchType: ptr.To(admissionv1.PatchTypeJSONPatch)}
}

func about(resources string, operations ...admissionregistrationv1.OperationType) []admissionregistrationv1.RuleWithOperations {
	group, resource, _ := strings.Cut(resources, ":")
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: operations,
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: strings.Split(resource, ",")},
	}}
}

func (a *asking) mutating(name string, rules []admissionregistrationv1.RuleWithOperations) *admissionregistrationv1.MutatingWebhookConfiguration {
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: name + ".example.com", Rules: rules, SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: ptr.To(a.url + "/" + name), CABundle: a.bundle},
		}},
	}
}

func (a *asking) validating(name string, rules []admissionregistrationv1.RuleWithOperations) *admissionregistrationv1.ValidatingWebhookConfiguration {
	return &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: name + ".example.com", Rules: rules, SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: ptr.To(a.url + "/" + name), CABundle: a.bundle},
		}},
	}
}

// with makes a configuration and takes it away at the end of the test.
func with[T apimachinery.Object](t *testing.T, p *bedplate.ControlPlane, o T) T {
	t.Helper()
	r := client.For[T](p.Client())
	made, err := r.Create(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Delete(t.Context(), o.GetNamespace(), o.GetName()) })
	return made
}

func TestMutatingWebhooks(t *testing.T) {
	p := start(t, bedplate.Config{})
	maps := client.For[*corev1.ConfigMap](p.Client())
	a := newAsking(t)
	configurations := client.For[*admissionregistrationv1.MutatingWebhookConfiguration](p.Client())
	label := func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(`[{"op":"add","path":"/metadata/labels","value":{"by":"webhook"}}]`)
	}
	a.does(label)
	w := with(t, p, a.mutating("first", about(":configmaps", "CREATE", "UPDATE", "DELETE")))

	m, err := maps.Create(t.Context(), configMap("a", "x")) // in force at once
	require.NoError(t, err)
	require.Equal(t, "webhook", m.Labels["by"])
	asked := a.was()[0]
	require.Equal(t, "ConfigMap", asked.Kind.Kind)
	require.Equal(t, admissionv1.Create, asked.Operation)
	require.Equal(t, []string{"default", "a"}, []string{asked.Namespace, asked.Name})
	require.Contains(t, string(asked.Object.Raw), `"kind":"ConfigMap"`)
	require.Equal(t, "null", string(asked.OldObject.Raw)+strings.Repeat("null", 1-min(1, len(asked.OldObject.Raw))))
	require.Contains(t, string(asked.Options.Raw), `"apiVersion":"meta.k8s.io/v1"`)
	require.Contains(t, string(asked.Options.Raw), "CreateOptions")
	require.Contains(t, asked.UserInfo.Groups, "system:masters")

	a.does(nil)
	_, err = maps.Patch(t.Context(), "default", "a", types.MergePatchType, []byte(`{"data":{"k":"v2"}}`))
	require.NoError(t, err)
	require.Contains(t, string(a.was()[0].OldObject.Raw), `"by":"webhook"`)
	require.Contains(t, string(a.was()[0].Options.Raw), "UpdateOptions")

	a.does(label)
	require.ErrorContains(t, maps.Delete(t.Context(), "default", "a"), `admission webhook "first.example.com" attempted to modify the object`)
	a.does(nil)
	require.NoError(t, maps.Delete(t.Context(), "default", "a"))
	require.Contains(t, string(a.was()[0].OldObject.Raw), `"name":"a"`)
	require.Empty(t, strings.Trim(string(a.was()[0].Object.Raw), "null"))

	for name, bad := range map[string]struct {
		answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse
		raw    http.HandlerFunc
		text   string
	}{
		"uid": {answer: func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{UID: "other", Allowed: true}
		}, text: "expected response.uid="},
		"patch": {answer: func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return patch(`{`) }, text: "undecodable patch"},
		"redirect": {raw: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
		}, text: "status code 302"},
		"error":   {raw: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "a secret of the webhook's", 500) }, text: "failed to call webhook"},
		"version": {raw: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"response":{}}`)) }, text: "received invalid webhook response"},
	} {
		a.does(bad.answer)
		a.mu.Lock()
		a.raw = bad.raw
		a.mu.Unlock()
		_, err = maps.Create(t.Context(), configMap("bad", "x"))
		require.True(t, apierrors.IsInternalError(err), name)
		require.ErrorContains(t, err, `failed calling webhook "first.example.com": `, name)
		require.ErrorContains(t, err, bad.text, name)
		require.NotContains(t, err.Error(), "secret")
	}
	w.Webhooks[0].FailurePolicy = ptr.To(admissionregistrationv1.Ignore)
	w, err = configurations.Update(t.Context(), w)
	require.NoError(t, err)
	_, err = maps.Create(t.Context(), configMap("open", "x"))
	require.NoError(t, err)

	// what has side effects isn't asked in a dry run
	a.does(nil)
	_, err = maps.Create(t.Context(), configMap("dry", "x"), client.DryRun())
	require.NoError(t, err)
	require.True(t, *a.was()[0].DryRun)
	w.Webhooks[0].SideEffects = ptr.To(admissionregistrationv1.SideEffectClassNoneOnDryRun)
	w.Webhooks[0].MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "named", Expression: "object.metadata.name == 'wanted'"}}
	w, err = configurations.Update(t.Context(), w)
	require.NoError(t, err)
	a.does(nil)
	_, err = maps.Create(t.Context(), configMap("other", "x"))
	require.NoError(t, err)
	require.Empty(t, a.was())
	_, err = maps.Create(t.Context(), configMap("wanted", "x"))
	require.NoError(t, err)
	require.Len(t, a.was(), 1)

	w.Webhooks[0].MatchConditions[0].Expression = "object.metadata.name =="
	_, err = configurations.Update(t.Context(), w)
	require.True(t, apierrors.IsInvalid(err), "%v", err)
}

// TestReinvocation: what a webhook adds is seen by the built-in plugins that came before it, and by webhooks that want
// to be asked again.
func TestReinvocation(t *testing.T) {
	p := start(t, bedplate.Config{})
	a := newAsking(t)
	calls := map[string]int{}
	a.does(func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		name := "first"
		if strings.Contains(string(r.Object.Raw), `"seen"`) {
			name = "second"
		}
		calls[name]++
		if strings.Contains(string(r.Object.Raw), `"sidecar"`) {
			return &admissionv1.AdmissionResponse{Allowed: true}
		}
		return patch(`[{"op":"add","path":"/spec/containers/-","value":{"name":"sidecar","image":"example.com/sidecar"}}]`)
	})
	first := a.mutating("again", about(":pods", "CREATE"))
	first.Webhooks[0].ReinvocationPolicy = ptr.To(admissionregistrationv1.IfNeededReinvocationPolicy)
	with(t, p, first)
	label := newAsking(t)
	label.does(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(`[{"op":"add","path":"/metadata/labels","value":{"seen":"yes"}}]`)
	})
	with(t, p, label.mutating("later", about(":pods", "CREATE")))
	accounts := client.For[*corev1.ServiceAccount](p.Client())
	require.Eventually(t, func() bool {
		_, err := accounts.Get(t.Context(), "default", "default")
		return err == nil
	}, 30*time.Second, time.Millisecond)
	pod, err := client.For[*corev1.Pod](p.Client()).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/main"}}},
	})
	require.NoError(t, err)
	require.Len(t, pod.Spec.Containers, 2)
	require.NotEmpty(t, pod.Spec.Containers[1].VolumeMounts, "the service account's token is mounted into the sidecar, too")
	require.Equal(t, "yes", pod.Labels["seen"])
	require.Equal(t, map[string]int{"first": 1, "second": 1}, calls)
	require.Len(t, label.was(), 1, "its policy is Never")
}

func TestValidatingWebhooks(t *testing.T) {
	p := start(t, bedplate.Config{})
	c := p.Client()
	maps := client.For[*corev1.ConfigMap](c)
	a := newAsking(t)
	a.does(func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{
			Allowed: r.Name != "bad", Warnings: []string{"think twice"},
			Result: &metav1.Status{Code: 418, Message: "not this one", Reason: "Teapot"},
		}
	})
	with(t, p, a.validating("judge", about(":configmaps,configmaps/*", "*")))
	_, err := maps.Create(t.Context(), configMap("good", "x"))
	require.NoError(t, err)
	_, err = maps.Create(t.Context(), configMap("bad", "x"))
	require.ErrorContains(t, err, `: admission webhook "judge.example.com" denied the request: not this one`)
	var status apierrors.APIStatus
	require.ErrorAs(t, err, &status)
	require.EqualValues(t, 418, status.Status().Code)

	// what configures admission is exempt
	with(t, p, a.validating("all", []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{"*"},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
	}}))
	a.does(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{}
	})
	_, err = maps.Create(t.Context(), configMap("none", "x"))
	require.ErrorContains(t, err, "denied the request without explanation")
	require.NoError(t, client.For[*admissionregistrationv1.ValidatingWebhookConfiguration](c).Delete(t.Context(), "", "all"))
	require.NoError(t, client.For[*admissionregistrationv1.ValidatingWebhookConfiguration](c).Delete(t.Context(), "", "judge"))
	_, err = maps.Create(t.Context(), configMap("none", "x"))
	require.NoError(t, err, "gone at once, too")
}

// TestOldObjects: a webhook sees the right old object whatever the subresource.
func TestOldObjects(t *testing.T) {
	p := start(t, bedplate.Config{})
	c := p.Client()
	a := newAsking(t)
	deployments := client.For[*appsv1.Deployment](c)
	d, err := deployments.Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "d", Labels: map[string]string{"was": "here"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/main"}}},
			},
		},
	})
	require.NoError(t, err)
	w := a.validating("old", about("apps:deployments,deployments/*", "*"))
	w.Webhooks[0].MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "users", Expression: "!request.userInfo.username.startsWith('system:serviceaccount:kube-system:')"}}
	with(t, p, w)
	admin := p.As(apimachinery.User{Name: "system:admin", Groups: []string{"system:masters"}})
	for _, sub := range []struct{ name, kind, body string }{
		{"status", "Deployment", `{"status":{"observedGeneration":7}}`},
		{"scale", "Scale", `{"spec":{"replicas":0},"metadata":{"annotations":{}}}`},
		{"", "Deployment", `{"metadata":{"labels":{"more":"x"}}}`},
	} {
		a.does(nil)
		_, err := admin.Do(t.Context(), &apimachinery.Request{
			Verb: apimachinery.VerbPatch, Resource: appsv1.SchemeGroupVersion.WithResource("deployments"), Namespace: "default", Name: d.Name,
			Sub: sub.name, ContentType: string(types.MergePatchType), Body: []byte(sub.body),
		})
		require.NoError(t, err)
		require.NotEmpty(t, a.was(), sub.name)
		r := a.was()[0]
		require.Equal(t, sub.name, r.SubResource)
		require.Equal(t, sub.kind, r.Kind.Kind)
		require.Contains(t, string(r.OldObject.Raw), `"name":"d"`)
		require.Contains(t, string(r.OldObject.Raw), `"kind":"`+sub.kind+`"`)
	}
}

// TestEquivalent: a rule for one version matches requests in another, and the webhook sees the version of its rule.
func TestEquivalent(t *testing.T) {
	p := start(t, bedplate.Config{})
	a := newAsking(t)
	a.does(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(`[{"op":"replace","path":"/spec/maxReplicas","value":9}]`)
	})
	w := a.mutating("v1only", about("autoscaling:horizontalpodautoscalers", "CREATE"))
	w.Webhooks[0].Rules[0].APIVersions = []string{"v1"}
	with(t, p, w)
	made, err := client.For[*autoscalingv2.HorizontalPodAutoscaler](p.Client()).Create(t.Context(), &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "h"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			MaxReplicas: 3, ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "d", APIVersion: "apps/v1"},
		},
	})
	require.NoError(t, err)
	require.EqualValues(t, 9, made.Spec.MaxReplicas)
	require.Equal(t, "v1", a.was()[0].Kind.Version)
	require.Equal(t, "v2", a.was()[0].RequestKind.Version)
	require.Contains(t, string(a.was()[0].Object.Raw), `"apiVersion":"autoscaling/v1"`)
}

// TestSelectors: namespaces and objects are selected by their labels.
func TestSelectors(t *testing.T) {
	p := start(t, bedplate.Config{})
	a := newAsking(t)
	w := a.validating("some", about(":configmaps", "*"))
	w.Webhooks[0].NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "default"}}
	w.Webhooks[0].ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"judge": "me"}}
	with(t, p, w)
	maps := client.For[*corev1.ConfigMap](p.Client())
	for _, c := range []struct {
		namespace, label string
		asked            int
	}{{"default", "me", 1}, {"default", "not", 0}, {"kube-system", "me", 0}} {
		a.does(nil)
		m := configMap("s-"+c.label, "x")
		m.Namespace, m.Labels = c.namespace, map[string]string{"judge": c.label}
		_, err := maps.Create(t.Context(), m)
		require.NoError(t, err)
		require.Len(t, a.was(), c.asked)
	}
	a.does(nil) // the old object counts, too
	_, err := maps.Patch(t.Context(), "default", "s-me", types.MergePatchType, []byte(`{"metadata":{"labels":null}}`))
	require.NoError(t, err)
	require.Len(t, a.was(), 1)
}
