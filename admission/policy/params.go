package policy

import (
	"context"
	"errors"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/admission/internal/hook"
	"github.com/bedplate/bedplate/apimachinery"
)

// paramsOf finds the parameters that a binding refers to: each of them is a case of its own. One nil is a case without.
func (e *evaluator) paramsOf(ctx context.Context, kind *admissionregistrationv1.ParamKind, ref *admissionregistrationv1.ParamRef, r *hook.Request) ([]apimachinery.Object, error) {
	if kind == nil || ref == nil {
		return []apimachinery.Object{nil}, nil
	}
	gvk := schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind)
	f, ok := e.c.Registry.ForKind(gvk)
	if !ok {
		return nil, fmt.Errorf("paramKind kind `%v` not known", gvk)
	}
	namespace := ""
	switch {
	case f.Resource.Namespaced:
		if namespace = ref.Namespace; namespace == "" {
			namespace = r.Namespace
		}
		if namespace == "" {
			return nil, errors.New("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
		}
	case ref.Namespace != "":
		return nil, errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	}
	selected := labels.Everything()
	switch {
	case ref.Name != "" && ref.Selector != nil:
		return nil, errors.New("paramRef.name and paramRef.selector are mutually exclusive")
	case ref.Selector != nil:
		var err error
		if selected, err = metav1.LabelSelectorAsSelector(ref.Selector); err != nil {
			return nil, err
		}
	case ref.Name == "":
		return nil, errors.New("one of name or selector must be provided")
	}
	found, err := e.c.Params(ctx, f.View.Resource(), namespace, ref.Name)
	if err != nil {
		return nil, err
	}
	var out []apimachinery.Object
	for _, o := range found {
		if !selected.Matches(labels.Set(o.GetLabels())) {
			continue
		}
		o = o.DeepCopyObject().(apimachinery.Object)
		o.GetObjectKind().SetGroupVersionKind(gvk)
		out = append(out, o)
	}
	if len(out) == 0 && ref.ParameterNotFoundAction != nil && *ref.ParameterNotFoundAction == admissionregistrationv1.DenyAction {
		return nil, errors.New("no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	return out, nil
}
