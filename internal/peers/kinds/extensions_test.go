package kinds

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/registry/rest"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	dracel "k8s.io/dynamic-resource-allocation/cel"
	apiregistrationinstall "k8s.io/kube-aggregator/pkg/apis/apiregistration/install"
	"k8s.io/kube-aggregator/pkg/registry/apiservice"
	apiservicestore "k8s.io/kube-aggregator/pkg/registry/apiservice/etcd"
	admissioninstall "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	flowcontrolinstall "k8s.io/kubernetes/pkg/apis/flowcontrol/install"
	resourceapi "k8s.io/kubernetes/pkg/apis/resource"
	resourceinstall "k8s.io/kubernetes/pkg/apis/resource/install"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicy"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/resolver"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicy"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/flowschema"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/prioritylevelconfiguration"
	"k8s.io/kubernetes/pkg/registry/resource/deviceclass"
	"k8s.io/kubernetes/pkg/registry/resource/resourceclaim"
	"k8s.io/kubernetes/pkg/registry/resource/resourceclaimtemplate"
	"k8s.io/kubernetes/pkg/registry/resource/resourceslice"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/admissionregistration"
	"github.com/bedplate/bedplate/apimachinery/kinds/apiregistration"
	"github.com/bedplate/bedplate/apimachinery/kinds/flowcontrol"
	"github.com/bedplate/bedplate/apimachinery/kinds/resource"
)

// The kinds by which others extend a cluster, and those of devices and flow control.

func installExtensions(s *runtime.Scheme) {
	admissioninstall.Install(s)
	apiregistrationinstall.Install(s)
	flowcontrolinstall.Install(s)
	resourceinstall.Install(s)
}

func extensionPairs() []pair {
	admission := admissionregistration.Config{Expressions: kubernetesExpressions}
	devices := resource.Config{Expressions: kubernetesExpressions, AdminAccess: func(context.Context, string) (bool, error) { return true, nil }}
	resolve := resolver.ResourceResolverFunc(func(k schema.GroupVersionKind) (schema.GroupVersionResource, error) {
		return k.GroupVersion().WithResource("things"), nil
	})
	policies, claims := validatingadmissionpolicy.NewStrategy(nil, resolve), resourceclaim.NewStrategy(adminNamespaces{}, allowAll{})
	services := runtime.NewScheme()
	none := map[string]updater{}
	var out []pair
	for _, k := range []struct {
		ours   apimachinery.Resource
		theirs creator
		subs   map[string]updater
	}{
		{admissionregistration.ValidatingWebhookConfigurations(admission), validatingwebhookconfiguration.Strategy, none},
		{admissionregistration.MutatingWebhookConfigurations(admission), mutatingwebhookconfiguration.Strategy, none},
		{admissionregistration.ValidatingAdmissionPolicies(admission), policies, map[string]updater{"status": validatingadmissionpolicy.NewStatusStrategy(policies)}},
		{admissionregistration.ValidatingAdmissionPolicyBindings(), validatingadmissionpolicybinding.NewStrategy(nil, nil, resolve), none},
		{admissionregistration.MutatingAdmissionPolicies(admission), mutatingadmissionpolicy.NewStrategy(nil, resolve), none},
		{admissionregistration.MutatingAdmissionPolicyBindings(), mutatingadmissionpolicybinding.NewStrategy(nil, nil, resolve), none},
		{apiregistration.APIServices(), apiservice.NewStrategy(services), map[string]updater{"status": apiservice.NewStatusStrategy(services)}},
		{flowcontrol.FlowSchemas(), flowschema.Strategy, map[string]updater{"status": flowschema.StatusStrategy}},
		{flowcontrol.PriorityLevelConfigurations(), prioritylevelconfiguration.Strategy, map[string]updater{"status": prioritylevelconfiguration.StatusStrategy}},
		{resource.ResourceClaims(devices), claims, map[string]updater{"status": resourceclaim.NewStatusStrategy(claims)}},
		{resource.ResourceClaimTemplates(devices), resourceclaimtemplate.NewStrategy(adminNamespaces{}), none},
		{resource.DeviceClasses(devices), deviceclass.Strategy, none},
		{resource.ResourceSlices(), sliceRules{resourceslice.Strategy}, none},
	} {
		view := k.ours.Views[0]
		p := pair{gvk: view.GroupVersionKind, ours: k.ours, theirs: ofKind(k.theirs, contextOf(view, "")), subs: map[string]rules{}}
		for name, s := range k.subs {
			p.subs[name] = ofUpdates(s, contextOf(view, name))
		}
		out = append(out, p)
	}
	return out
}

// adminNamespaces are all open to administrators' claims.
type adminNamespaces struct {
	corev1client.NamespaceInterface
}

func (adminNamespaces) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.Namespace, error) {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{resourcev1.DRAAdminNamespaceLabelKey: "true"}}}, nil
}

type allowAll struct{}

func (allowAll) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}

// kubernetesExpressions are compiled by Kubernetes' own compilers.
func kubernetesExpressions() func(apimachinery.Expression) error {
	base := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
	plain := plugincel.NewCompiler(base)
	var composed *plugincel.CompositedCompiler
	return func(e apimachinery.Expression) error {
		env := environment.NewExpressions
		if e.Stored {
			env = environment.StoredExpressions
		}
		o := plugincel.OptionalVariableDeclarations{HasParams: e.Params, HasAuthorizer: e.Kind != apimachinery.MessageExpression}
		compiler := plugincel.Compiler(plain)
		if composed != nil {
			compiler = composed
		}
		switch e.Kind {
		case apimachinery.DeviceSelector:
			return checkSelector(e.Text, env)
		case apimachinery.MatchCondition:
			return told(plain.CompileCELExpression(&matchconditions.MatchCondition{Expression: e.Text}, o, env))
		case apimachinery.VariableExpression:
			if composed == nil {
				var err error
				if composed, err = plugincel.NewCompositedCompiler(base); err != nil {
					return err
				}
			}
			return told(composed.CompileAndStoreVariable(&validating.Variable{Name: e.Name, Expression: e.Text}, o, env))
		case apimachinery.ValidationExpression:
			return told(compiler.CompileCELExpression(&validating.ValidationCondition{Expression: e.Text}, o, env))
		case apimachinery.MessageExpression:
			return told(compiler.CompileCELExpression(&validating.MessageExpressionCondition{MessageExpression: e.Text}, o, env))
		case apimachinery.AuditExpression:
			return told(compiler.CompileCELExpression(&validating.AuditAnnotationCondition{ValueExpression: e.Text}, o, env))
		case apimachinery.ApplyExpression:
			o.HasPatchTypes = true
			return told(compiler.CompileCELExpression(&patch.ApplyConfigurationCondition{Expression: e.Text}, o, env))
		case apimachinery.PatchExpression:
			o.HasPatchTypes = true
			return told(compiler.CompileCELExpression(&patch.JSONPatchCondition{Expression: e.Text}, o, env))
		}
		return fmt.Errorf("unknown kind %v", e.Kind)
	}
}

func told(r plugincel.CompilationResult) error { return toldError(r.Error) }

func toldError(err *cel.Error) error {
	switch {
	case err == nil:
		return nil
	case err.Type == cel.ErrorTypeRequired:
		return field.Required(nil, err.Detail)
	case err.Type == cel.ErrorTypeInternal:
		return field.InternalError(nil, err)
	}
	return err
}

func checkSelector(text string, env environment.Type) error {
	r := dracel.GetCompiler(dracel.Features{EnableConsumableCapacity: true}).CompileCELExpression(text, dracel.Options{EnvType: &env})
	if r.Error != nil {
		return toldError(r.Error)
	}
	if r.MaxCost > resourcev1.CELSelectorExpressionMaxCost {
		return field.Forbidden(nil, "too complex, exceeds cost limit")
	}
	return nil
}

// sliceRules keeps steps of zero from Kubernetes, which divides by them.
type sliceRules struct{ creator }

func (r sliceRules) Validate(ctx context.Context, o runtime.Object) field.ErrorList {
	o, errs := withoutZeroSteps(o)
	return append(r.creator.Validate(ctx, o), errs...)
}

func (r sliceRules) ValidateUpdate(ctx context.Context, o, old runtime.Object) field.ErrorList {
	o, errs := withoutZeroSteps(o)
	old, _ = withoutZeroSteps(old)
	return append(r.creator.ValidateUpdate(ctx, o, old), errs...)
}

func withoutZeroSteps(o runtime.Object) (runtime.Object, field.ErrorList) {
	s := o.DeepCopyObject().(*resourceapi.ResourceSlice)
	var errs field.ErrorList
	for i, d := range s.Spec.Devices {
		for name, c := range d.Capacity {
			p := c.RequestPolicy
			if p == nil || p.ValidRange == nil || p.ValidRange.Step == nil || p.ValidRange.Step.Value() != 0 {
				continue
			}
			shared := d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations
			if shared && len(p.ValidValues) == 0 && p.Default != nil && p.ValidRange.Min != nil && len(s.Spec.Devices) <= resourcev1.ResourceSliceMaxDevices {
				at := field.NewPath("spec", "devices").Index(i).Child("capacity").Key(string(name)).Child("requestPolicy", "validRange", "step")
				errs = append(errs, field.Invalid(at, p.ValidRange.Step.String(), ""))
			}
			p.ValidRange.Step = nil
		}
	}
	return s, errs
}

// timed are the fields that defaults take from the clock.
var timed = []string{"timeAdded"}

func isTimed(name string) bool { return slices.Contains(timed, name) }

// convertor makes tables of kinds that the printers don't know.
func convertor(p pair) rest.TableConvertor {
	if p.gvk.Kind == "APIService" {
		return &apiservicestore.REST{}
	}
	return rest.NewDefaultTableConvertor(p.ours.Name)
}
