package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/callout"
	"github.com/bedplate/bedplate/storage"
)

const (
	checkTimeout = 5 * time.Second
	maxDocument  = 16 << 20 // of discovery and OpenAPI, in bytes
)

// trouble is why an extension is not available, as its condition says it.
type trouble struct {
	status          apiregistrationv1.ConditionStatus
	reason, message string
}

func (t *trouble) Error() string { return t.reason + ": " + t.message }

func no(reason, format string, args ...any) *trouble {
	return &trouble{apiregistrationv1.ConditionFalse, reason, fmt.Sprintf(format, args...)}
}

// check finds out how an extension is. What isn't known anew stays as it was.
func (x *extension) check() *state {
	now := &state{}
	if was := x.state.Load(); was != nil {
		*now = *was
	}
	ctx, cancel := context.WithTimeout(x.ctx, checkTimeout)
	defer cancel()
	if now.trouble = x.checkService(ctx); now.trouble != nil {
		return now
	}
	list, err := x.ask(ctx, x.root(), "")
	if err != nil {
		now.trouble = no("FailedDiscoveryCheck", "failing or missing response from %s: %v", x.root(), err)
		return now
	}
	now.resources = x.discover(ctx, list)
	x.findSchemas(ctx, now)
	return now
}

// root is the path of the group and version.
func (x *extension) root() string {
	if x.gv.Group == "" {
		return "/api/" + x.gv.Version
	}
	return "/apis/" + x.gv.Group + "/" + x.gv.Version
}

// checkService looks at the Service and its endpoints.
func (x *extension) checkService(ctx context.Context) *trouble {
	ref, unknown := x.spec.Service, func(reason string, err error) *trouble {
		return &trouble{apiregistrationv1.ConditionUnknown, reason, fmt.Sprintf("service/%s in %q cannot be checked due to: %v", x.spec.Service.Name, x.spec.Service.Namespace, err)}
	}
	o, err := x.a.server.As(user).Do(ctx, &apimachinery.Request{
		Verb: apimachinery.VerbGet, Resource: corev1.SchemeGroupVersion.WithResource("services"), Namespace: ref.Namespace, Name: ref.Name,
	})
	if apierrors.IsNotFound(err) {
		return no("ServiceNotFound", "service/%s in %q is not present", ref.Name, ref.Namespace)
	}
	s := &corev1.Service{}
	if err == nil {
		err = apimachinery.DecodeLoose(o.Body, s)
	}
	if err != nil {
		return unknown("ServiceAccessError", err)
	}
	if s.Spec.Type != corev1.ServiceTypeClusterIP {
		return nil
	}
	for _, p := range s.Spec.Ports {
		if p.Port != x.port() {
			continue
		}
		found, ready, err := x.endpoints(ctx, p.Name)
		switch {
		case err != nil:
			return unknown("EndpointsAccessError", err)
		case !found:
			return no("EndpointsNotFound", "cannot find endpointslices for service/%s in %q", ref.Name, ref.Namespace)
		case !ready:
			return no("MissingEndpoints", "endpointslices for service/%s in %q have no addresses with port name %q", ref.Name, ref.Namespace, p.Name)
		}
		return nil
	}
	return no("ServicePortError", "service/%s in %q is not listening on port %d", ref.Name, ref.Namespace, x.port())
}

// endpoints says whether there are slices of the Service, and an endpoint in them that is ready.
func (x *extension) endpoints(ctx context.Context, port string) (found, ready bool, err error) {
	gvr, ref := discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), x.spec.Service
	t, ok := x.a.server.Table(gvr.GroupResource())
	if !ok {
		return false, false, fmt.Errorf("there is no table of %v", gvr)
	}
	snap, err := t.Snapshot(ctx, storage.Cached, false)
	if err != nil {
		return false, false, err
	}
	of := storage.Filter{Prefix: ref.Namespace + "/", LabelIs: []storage.Pair{{Key: discoveryv1.LabelServiceName, Value: ref.Name}}}
	for e := range snap.All(of, "") {
		o, err := x.a.server.Object(gvr, e)
		if err != nil {
			return found, false, err
		}
		found = true
		ready = ready || serves(o.(*discoveryv1.EndpointSlice), port)
	}
	return found, ready, nil
}

func serves(s *discoveryv1.EndpointSlice, port string) bool {
	named := false
	for _, p := range s.Ports {
		named = named || p.Name != nil && *p.Name == port || p.Name == nil && port == ""
	}
	for i := range s.Endpoints {
		c := s.Endpoints[i].Conditions
		if named && len(s.Endpoints[i].Addresses) > 0 && (c.Ready == nil || *c.Ready) {
			return true
		}
	}
	return false
}

// user is who writes conditions.
var user = apimachinery.User{Name: "system:apiserver", Groups: []string{"system:masters", "system:authenticated"}}

// asker is who asks other servers for what they have, with the right to see it.
var asker = apimachinery.User{Name: "system:kube-aggregator", Groups: []string{"system:masters"}}

// ask gets a document of the other server.
func (x *extension) ask(ctx context.Context, path, accept string) ([]byte, error) {
	r, err := x.question(ctx, path, accept)
	if err != nil {
		return nil, err
	}
	return callout.Do(x.client(), r, maxDocument)
}

func (x *extension) client() *http.Client {
	return &http.Client{Transport: x.plain, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (x *extension) question(ctx context.Context, path, accept string) (*http.Request, error) {
	if x.broken != nil {
		return nil, x.broken
	}
	at, err := x.a.c.Services.Resolve(ctx, x.spec.Service.Namespace, x.spec.Service.Name, x.port())
	if err != nil {
		return nil, err
	}
	below, err := url.Parse(path)
	if err != nil {
		return nil, err
	}
	to := *at
	to.Path, to.RawQuery = below.Path, below.RawQuery
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	identify(r.Header, asker)
	return r, nil
}

const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// discover reads the resources of the version: from aggregated discovery, or, where the other server is older than
// that, from the list of its resources.
func (x *extension) discover(ctx context.Context, list []byte) []apidiscovery.APIResourceDiscovery {
	var all apidiscovery.APIGroupDiscoveryList
	if body, err := x.ask(ctx, "/apis", aggregated+",application/json;q=0.1"); err == nil && json.Unmarshal(body, &all) == nil && all.Kind == "APIGroupDiscoveryList" {
		for _, g := range all.Items {
			for _, v := range g.Versions {
				if g.Name == x.gv.Group && v.Version == x.gv.Version {
					return v.Resources
				}
			}
		}
	}
	return listed(list, x)
}

// listed makes the newer form of a list of resources.
func listed(body []byte, x *extension) []apidiscovery.APIResourceDiscovery {
	var old metav1.APIResourceList
	if json.Unmarshal(body, &old) != nil {
		return nil
	}
	out := []apidiscovery.APIResourceDiscovery{}
	at := map[string]int{}
	for _, r := range old.APIResources {
		if _, _, sub := cutSub(r.Name); sub {
			continue
		}
		scope := apidiscovery.ScopeCluster
		if r.Namespaced {
			scope = apidiscovery.ScopeNamespace
		}
		at[r.Name] = len(out)
		out = append(out, apidiscovery.APIResourceDiscovery{
			Resource: r.Name, ResponseKind: x.kindOf(&r), Scope: scope, SingularResource: r.SingularName,
			Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
		})
	}
	for _, r := range old.APIResources {
		name, sub, is := cutSub(r.Name)
		if i, ok := at[name]; is && ok {
			out[i].Subresources = append(out[i].Subresources, apidiscovery.APISubresourceDiscovery{Subresource: sub, ResponseKind: x.kindOf(&r), Verbs: r.Verbs})
		}
	}
	return out
}

func (x *extension) kindOf(r *metav1.APIResource) *metav1.GroupVersionKind {
	k := &metav1.GroupVersionKind{Group: x.gv.Group, Version: x.gv.Version, Kind: r.Kind}
	if r.Group != "" || r.Version != "" {
		k.Group, k.Version = r.Group, r.Version
	}
	return k
}

// report writes the condition of the APIService, if it says something else.
func (x *extension) report(t *trouble) error {
	want := apiregistrationv1.APIServiceCondition{
		Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, Reason: "Passed", Message: "all checks passed",
	}
	if t != nil {
		want.Status, want.Reason, want.Message = t.status, t.reason, t.message
	}
	for x.ctx.Err() == nil {
		e, err := x.a.table.Get(x.ctx, x.name, 0)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		o, err := x.a.server.Object(APIServices, e)
		if err != nil {
			return err
		}
		s := o.(*apiregistrationv1.APIService).DeepCopy()
		if !x.serves(s) || !conditioned(s, want, metav1.NewTime(x.a.c.Now())) {
			return nil
		}
		s.ResourceVersion = strconv.FormatInt(e.Rev, 10)
		err = x.a.write(x.ctx, apimachinery.VerbUpdate, "status", s)
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// conditioned sets a condition; it says whether that changed anything.
func conditioned(s *apiregistrationv1.APIService, want apiregistrationv1.APIServiceCondition, now metav1.Time) bool {
	want.LastTransitionTime = now
	for i := range s.Status.Conditions {
		have := &s.Status.Conditions[i]
		if have.Type != want.Type {
			continue
		}
		if have.Status == want.Status {
			want.LastTransitionTime = have.LastTransitionTime
		}
		if *have == want {
			return false
		}
		*have = want
		return true
	}
	s.Status.Conditions = append(s.Status.Conditions, want)
	return true
}

// write sends an APIService to this server.
func (a *Aggregator) write(ctx context.Context, verb, sub string, s *apiregistrationv1.APIService) error {
	s.TypeMeta = metav1.TypeMeta{Kind: "APIService", APIVersion: apiregistrationv1.SchemeGroupVersion.String()}
	r := &apimachinery.Request{Verb: verb, Resource: APIServices, Name: s.Name, Sub: sub, Object: s}
	switch verb {
	case apimachinery.VerbCreate:
		r.Name, r.Options = "", &metav1.CreateOptions{FieldManager: "kube-apiserver"}
	case apimachinery.VerbUpdate:
		r.Options = &metav1.UpdateOptions{FieldManager: "kube-apiserver"}
	case apimachinery.VerbDelete:
		r.Object = nil
	}
	_, err := a.server.As(user).Do(ctx, r)
	return err
}
