package bedplate

import (
	"context"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/admission/policy"
	"github.com/bedplate/bedplate/admission/webhook"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/storage"
)

// fresh reads the objects of a resource straight from the server's table, with every write in it that it has answered.
func (l *lookup) fresh(gvr schema.GroupVersionResource) func(context.Context) ([]apimachinery.Object, error) {
	return func(ctx context.Context) ([]apimachinery.Object, error) {
		return l.server.Fresh(ctx, gvr, storage.Filter{})
	}
}

// params reads what policies take as parameters, as fresh reads.
func (l *lookup) params(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) ([]apimachinery.Object, error) {
	of := storage.Filter{}
	switch {
	case name != "":
		of.Key = apimachinery.Key(namespace, name)
	case namespace != "":
		of.Prefix = namespace + "/"
	}
	return l.server.Fresh(ctx, gvr, of)
}

// hooks are the admission plugins that ask what users have configured. They come after the built-in ones, which must
// have done their part, and before the caller's own.
func (p *ControlPlane) hooks() ([]apimachinery.Plugin, error) {
	l := p.security.lookup
	of := func(plural string) func(context.Context) ([]apimachinery.Object, error) {
		return l.fresh(admissionregistrationv1.SchemeGroupVersion.WithResource(plural))
	}
	mutating, validating, err := webhook.New(webhook.Config{
		Registry: p.registry, Namespace: l.Namespace,
		Mutating: of("mutatingwebhookconfigurations"), Validating: of("validatingwebhookconfigurations"),
		Language: p.language, Authorizer: p.security.authorizer,
		Services: server.ServiceResolverFunc(l.resolve), Dial: p.c.Dial, Registerer: p.c.Registerer, Log: p.c.Log,
	})
	if err != nil {
		return nil, err
	}
	changing, judging, err := policy.New(policy.Config{
		Registry: p.registry, Namespace: l.Namespace, Params: l.params,
		Mutating: of("mutatingadmissionpolicies"), MutatingBindings: of("mutatingadmissionpolicybindings"),
		Validating: of("validatingadmissionpolicies"), ValidatingBindings: of("validatingadmissionpolicybindings"),
		Language: p.language, Authorizer: p.security.authorizer, Registerer: p.c.Registerer,
	})
	if err != nil {
		return nil, err
	}
	return slices.Concat(p.security.admission, []apimachinery.Plugin{changing, mutating, judging, validating}, p.c.Admission), nil
}
