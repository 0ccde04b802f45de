package apiregistration_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/apiregistration"
)

func service(name string) *apiregistrationv1.APIService {
	s := &apiregistrationv1.APIService{Spec: apiregistrationv1.APIServiceSpec{
		Group: "example.com", Version: "v1", GroupPriorityMinimum: 10, VersionPriority: 10,
		Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "api"},
	}}
	s.Name = name
	return s
}

// The name of an APIService is what it serves.
func Example() {
	r := apiregistration.APIServices()
	s := service("example")
	r.Default(s)
	for _, err := range r.Validate(context.Background(), s, nil) {
		fmt.Println(err)
	}
	// Output: metadata.name: Invalid value: "example": must be `spec.version+"."+spec.group`: "v1.example.com"
}

func TestAPIService(t *testing.T) {
	_, err := apimachinery.NewRegistry(apiregistration.Resources()...)
	require.NoError(t, err)
	r := apiregistration.APIServices()
	for name, c := range map[string]struct {
		change func(*apiregistrationv1.APIServiceSpec)
		want   []string
	}{
		"good":        {func(*apiregistrationv1.APIServiceSpec) {}, nil},
		"no service":  {func(s *apiregistrationv1.APIServiceSpec) { s.Service.Name = "" }, []string{"spec.service.name"}},
		"both":        {func(s *apiregistrationv1.APIServiceSpec) { s.InsecureSkipTLSVerify, s.CABundle = true, []byte("x") }, []string{"spec.insecureSkipTLSVerify"}},
		"local":       {func(s *apiregistrationv1.APIServiceSpec) { s.Service, s.CABundle = nil, []byte("x") }, []string{"spec.caBundle"}},
		"priorities":  {func(s *apiregistrationv1.APIServiceSpec) { s.GroupPriorityMinimum, s.VersionPriority = 0, 1001 }, []string{"spec.groupPriorityMinimum", "spec.versionPriority"}},
		"other group": {func(s *apiregistrationv1.APIServiceSpec) { s.Group = "a.b" }, []string{"metadata.name"}},
	} {
		s := service("v1.example.com")
		c.change(&s.Spec)
		r.Default(s)
		var have []string
		for _, e := range r.Validate(t.Context(), s, nil) {
			have = append(have, e.Field)
		}
		require.Equal(t, c.want, have, name)
	}
}

// TestLocal: what the server serves itself is there from the start.
func TestLocal(t *testing.T) {
	r := apiregistration.APIServices()
	s := service("v1.example.com")
	row := func() (out []any) {
		for _, c := range r.Views[0].Columns[1:3] {
			out = append(out, c.Cell(s))
		}
		return out
	}
	r.Prepare(t.Context(), s, nil)
	require.Equal(t, []any{"default/api", "Unknown"}, row())
	s.Spec.Service = nil
	r.Prepare(t.Context(), s, nil)
	require.Equal(t, []any{"Local", "True"}, row())
	s.Status.Conditions[0].Status, s.Status.Conditions[0].Reason = "False", "Gone"
	require.Equal(t, []any{"Local", "False (Gone)"}, row())
	s.Status.Conditions[0].Status = "Perhaps"
	require.Len(t, r.Subs["status"].Strategy.Validate(t.Context(), s, s), 1)
}
