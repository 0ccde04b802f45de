package apiregistration

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

type kind = *apiregistrationv1.APIService

// APIServices declares apiregistration.k8s.io/v1 APIService. Its name is "<version>.<group>".
func APIServices() apimachinery.Resource {
	return apimachinery.Resource{
		Name:   schema.GroupResource{Group: apiregistrationv1.GroupName, Resource: "apiservices"},
		Prefix: "apiregistration.k8s.io/apiservices",
		New:    func() apimachinery.Object { return &apiregistrationv1.APIService{} },
		Views: []apimachinery.View{{
			GroupVersionKind: apiregistrationv1.SchemeGroupVersion.WithKind("APIService"),
			Plural:           "apiservices", Category: []string{"api-extensions"},
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Service", "string", func(s kind) any { return service(s) }),
				apimachinery.ColumnOf("Available", "string", func(s kind) any { return available(s) }),
				apimachinery.AgeColumn(),
			},
		}},
		ValidName: func(name string, _ bool) []string { return path.IsValidPathSegmentName(name) },
		Default: func(o apimachinery.Object) {
			if s := o.(kind).Spec.Service; s != nil && s.Port == nil {
				port := int32(443)
				s.Port = &port
			}
		},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(kind)
			if old != nil {
				n.Status = old.(kind).Status
				return
			}
			if n.Status = (apiregistrationv1.APIServiceStatus{}); n.Spec.Service == nil {
				n.Status.Conditions = []apiregistrationv1.APIServiceCondition{local()}
			}
		},
		Validate:    func(_ context.Context, new, _ apimachinery.Object) field.ErrorList { return validate(new.(kind)) },
		Conditional: true,
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned:    []string{"status"},
					Prepare:  prepareStatus,
					Validate: validateStatus,
				},
			},
		},
	}
}

// local is the condition of what this server serves itself.
func local() apiregistrationv1.APIServiceCondition {
	return apiregistrationv1.APIServiceCondition{
		Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, LastTransitionTime: metav1.Now(),
		Reason: "Local", Message: "Local APIServices are always available",
	}
}

func prepareStatus(_ context.Context, new, old apimachinery.Object) {
	n, o := new.(kind), old.(kind)
	n.Spec, n.Labels, n.Annotations = o.Spec, o.Labels, o.Annotations
	n.Finalizers, n.OwnerReferences = o.Finalizers, o.OwnerReferences
}

var statuses = []apiregistrationv1.ConditionStatus{
	apiregistrationv1.ConditionTrue, apiregistrationv1.ConditionFalse, apiregistrationv1.ConditionUnknown,
}

func validateStatus(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
	var errs field.ErrorList
	for i, c := range new.(kind).Status.Conditions {
		if !slices.Contains(statuses, c.Status) {
			errs = append(errs, field.NotSupported(field.NewPath("status", "conditions").Index(i).Child("status"), c.Status, statuses))
		}
	}
	return errs
}

func validate(o kind) field.ErrorList {
	s, spec := &o.Spec, field.NewPath("spec")
	errs := validateName(o)
	if s.Group == "" && s.Version != "v1" {
		errs = append(errs, field.Required(spec.Child("group"), "only v1 may have an empty group and it better be legacy kube"))
	}
	if s.Group != "" {
		errs = append(errs, invalid(spec.Child("group"), s.Group, utilvalidation.IsDNS1123Subdomain(s.Group))...)
	}
	errs = append(errs, invalid(spec.Child("version"), s.Version, utilvalidation.IsDNS1035Label(s.Version))...)
	errs = append(errs, within(s.GroupPriorityMinimum, 20000, spec.Child("groupPriorityMinimum"))...)
	errs = append(errs, within(s.VersionPriority, 1000, spec.Child("versionPriority"))...)
	if s.Service == nil {
		return append(errs, validateLocal(s, spec)...)
	}
	errs = append(errs, validateService(s.Service, spec.Child("service"))...)
	if s.InsecureSkipTLSVerify && len(s.CABundle) > 0 {
		errs = append(errs, field.Invalid(spec.Child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present"))
	}
	return errs
}

// validateName compares the name, and the start of a generated one, with what the spec demands.
func validateName(o kind) field.ErrorList {
	var errs field.ErrorList
	want := o.Spec.Version + "." + o.Spec.Group
	judge := func(at, name string) {
		if name != "" && name != want && len(path.IsValidPathSegmentName(name)) == 0 {
			errs = append(errs, field.Invalid(field.NewPath("metadata", at), name, fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", want)))
		}
	}
	judge("generateName", o.GenerateName)
	judge("name", o.Name)
	return errs
}

func within(n, most int32, at *field.Path) field.ErrorList {
	if n > 0 && n <= most {
		return nil
	}
	return field.ErrorList{field.Invalid(at, n, fmt.Sprintf("must be positive and less than %d", most))}
}

func validateLocal(s *apiregistrationv1.APIServiceSpec, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n := len(s.CABundle); n > 0 {
		errs = append(errs, field.Invalid(spec.Child("caBundle"), fmt.Sprintf("%d bytes", n), "local APIServices may not have a caBundle"))
	}
	if s.InsecureSkipTLSVerify {
		errs = append(errs, field.Invalid(spec.Child("insecureSkipTLSVerify"), true, "local APIServices may not have insecureSkipTLSVerify"))
	}
	return errs
}

func validateService(s *apiregistrationv1.ServiceReference, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Namespace == "" {
		errs = append(errs, field.Required(at.Child("namespace"), ""))
	}
	if s.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	var port int32
	if s.Port != nil {
		port = *s.Port
	}
	if msgs := utilvalidation.IsValidPortNum(int(port)); msgs != nil {
		errs = append(errs, field.Invalid(at.Child("port"), port, "port is not valid: "+strings.Join(msgs, ", ")))
	}
	return errs
}

func invalid(at *field.Path, value string, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range messages {
		errs = append(errs, field.Invalid(at, value, msg))
	}
	return errs
}

func service(o kind) string {
	if s := o.Spec.Service; s != nil {
		return s.Namespace + "/" + s.Name
	}
	return "Local"
}

func available(o kind) string {
	for _, c := range o.Status.Conditions {
		if c.Type != apiregistrationv1.Available {
			continue
		}
		if c.Status == apiregistrationv1.ConditionTrue || c.Reason == "" {
			return string(c.Status)
		}
		return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
	}
	return string(apiregistrationv1.ConditionUnknown)
}
