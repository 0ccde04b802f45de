package bedplate_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/rbac/authn"
)

// site is a control plane, and a way to ask it over HTTPS.
type site struct {
	t *testing.T
	*bedplate.ControlPlane
	http *http.Client
}

func newSite(t *testing.T, c bedplate.Config) *site {
	c.Tokens = map[string]apimachinery.User{"admin": {Name: "root", Groups: []string{"system:masters"}}, "jane": {Name: "jane"}}
	p := start(t, c)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(p.CA()))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &site{t, p, &http.Client{Transport: transport}}
}

func (s *site) do(who, method, path, body string, header ...string) (int, []byte) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.URL()+path, strings.NewReader(body))
	require.NoError(s.t, err)
	r.Header.Set("Authorization", "Bearer "+who)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := s.http.Do(r)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp.StatusCode, out
}

// available waits for a condition of an APIService.
func (s *site) available(name, status, reason string) {
	s.t.Helper()
	services := client.For[*apiregistrationv1.APIService](s.Client())
	var last any
	require.Eventually(s.t, func() bool {
		o, err := services.Get(s.t.Context(), "", name)
		if err != nil || len(o.Status.Conditions) == 0 {
			return false
		}
		c := o.Status.Conditions[0]
		last = c
		return string(c.Status) == status && c.Reason == reason
	}, 30*time.Second, 5*time.Millisecond, "%v", &last)
}

const extensionGroup = "ext.example.com"

// extension is a control plane with a kind of its own, which believes the front proxy of another.
func extension(t *testing.T, of *site) *site {
	m, err := client.For[*corev1.ConfigMap](of.Client()).Get(t.Context(), "kube-system", "extension-apiserver-authentication")
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(m.Data["requestheader-client-ca-file"])))
	var names []string
	require.NoError(t, json.Unmarshal([]byte(m.Data["requestheader-allowed-names"]), &names))
	x := newSite(t, bedplate.Config{Hosts: []string{"ext.default.svc"}, FrontProxy: &authn.FrontProxy{Clients: pool, Names: names}})
	preserve := true
	_, err = client.For[*apiext.CustomResourceDefinition](x.Client()).Create(t.Context(), &apiext.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "things." + extensionGroup},
		Spec: apiext.CustomResourceDefinitionSpec{
			Group: extensionGroup, Scope: apiext.NamespaceScoped,
			Names: apiext.CustomResourceDefinitionNames{Plural: "things", Kind: "Thing"},
			Versions: []apiext.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiext.CustomResourceValidation{OpenAPIV3Schema: &apiext.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &preserve}},
			}},
		},
	})
	require.NoError(t, err)
	return x
}

func TestAggregation(t *testing.T) {
	var target string
	s := newSite(t, bedplate.Config{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "10.1.2.3:7443" {
			address = target
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}})
	s.available("v1.apps", "True", "Local")
	s.available("v1.", "True", "Local")
	x := extension(t, s)
	target = strings.TrimPrefix(x.URL(), "https://")

	_, err := client.For[*apiregistrationv1.APIService](s.Client()).Create(t.Context(), &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1." + extensionGroup},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: extensionGroup, Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 10, CABundle: x.CA(),
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "ext"},
		},
	})
	require.NoError(t, err)
	s.available("v1."+extensionGroup, "False", "ServiceNotFound")
	things := "/apis/" + extensionGroup + "/v1/namespaces/default/things"
	require.Eventually(t, func() bool {
		code, body := s.do("admin", "GET", things, "")
		return code == 503 && bytes.Contains(body, []byte(`"reason":"ServiceUnavailable"`))
	}, 30*time.Second, time.Millisecond)

	with(t, s.ControlPlane, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ext"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}},
	})
	s.available("v1."+extensionGroup, "False", "EndpointsNotFound")
	slice := with(t, s.ControlPlane, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "ext-1", Labels: map[string]string{discoveryv1.LabelServiceName: "ext"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.2.3"}}},
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To(""), Port: ptr.To[int32](7443)}},
	})
	s.available("v1."+extensionGroup, "True", "Passed")

	// requests go on, as who sent them
	code, body := s.do("admin", "POST", things, `{"apiVersion":"ext.example.com/v1","kind":"Thing","metadata":{"name":"a"}}`)
	require.Equal(t, 201, code, string(body))
	code, _ = x.do("admin", "GET", things+"/a", "")
	require.Equal(t, 200, code, "it is there, and not here")
	code, body = s.do("jane", "GET", things, "")
	require.Equal(t, 403, code, string(body))
	code, body = s.do("admin", "GET", things, "", "Impersonate-User", "jane")
	require.Equal(t, 403, code, string(body))
	code, body = s.do("jane", "GET", things, "", "X-Remote-User", "root", "X-Remote-Group", "system:masters")
	require.Equal(t, 403, code, string(body))
	code, body = x.do("jane", "GET", things, "", "X-Remote-User", "root", "X-Remote-Group", "system:masters")
	require.Equal(t, 403, code, "nobody but the proxy says who asks: %s", body)
	code, _ = s.do("admin", "GET", "/apis/"+extensionGroup+"/v1", "")
	require.Equal(t, 200, code)

	// so do watches, as they come
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL()+things+"?watch=1", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer admin")
	resp, err := s.http.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), `"name":"a"`)
	code, _ = s.do("admin", "POST", things, `{"apiVersion":"ext.example.com/v1","kind":"Thing","metadata":{"name":"b"}}`)
	require.Equal(t, 201, code)
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), `"name":"b"`)
	cancel()

	// it goes, and is told of
	slice.Endpoints[0].Conditions.Ready = ptr.To(false)
	_, err = client.For[*discoveryv1.EndpointSlice](s.Client()).Update(t.Context(), slice)
	require.NoError(t, err)
	s.available("v1."+extensionGroup, "False", "MissingEndpoints")
	code, _ = s.do("admin", "GET", things, "")
	require.Equal(t, 503, code)
	code, _ = s.do("admin", "GET", "/apis", "")
	require.Equal(t, 200, code, "discovery goes on")
	require.NoError(t, client.For[*apiregistrationv1.APIService](s.Client()).Delete(t.Context(), "", "v1."+extensionGroup))
	require.Eventually(t, func() bool {
		code, _ := s.do("admin", "GET", things, "")
		return code == 404
	}, 30*time.Second, time.Millisecond)

	// custom resources are registered, and leave again
	x.available("v1."+extensionGroup, "True", "Local")
	require.NoError(t, client.For[*apiext.CustomResourceDefinition](x.Client()).Delete(t.Context(), "", "things."+extensionGroup))
	require.Eventually(t, func() bool {
		_, err := client.For[*apiregistrationv1.APIService](x.Client()).Get(t.Context(), "", "v1."+extensionGroup)
		return err != nil
	}, 30*time.Second, time.Millisecond)
}
