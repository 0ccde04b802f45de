package cel

import (
	celgo "github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// Input is the request that the expressions of a policy or webhook see.
type Input struct {
	// Admission is the request. Object and Old are converted to unstructured data when an expression looks at them.
	Admission *apimachinery.Admission
	// Kind and Resource are what the policy or webhook matched, if that isn't what was requested; then Object and Old,
	// which stand for those of Admission, are of that kind. Each may be a Go object or unstructured data.
	Kind        schema.GroupVersionKind
	Resource    schema.GroupVersionResource
	Object, Old any
	// Params is the object of the policy's paramKind, may be nil.
	Params any
	// Namespace is that of the request, nil for cluster-scoped objects.
	Namespace *corev1.Namespace
	// Authorizer answers what expressions ask; nil leaves the variable out, and expressions that ask fail.
	Authorizer apimachinery.Authorizer
}

func (in *Input) object() any {
	if in.Object == nil && in.Admission.Object != nil && in.Kind == (schema.GroupVersionKind{}) {
		return in.Admission.Object
	}
	return in.Object
}

func (in *Input) old() any {
	if in.Old == nil && in.Admission.Old != nil && in.Kind == (schema.GroupVersionKind{}) {
		return in.Admission.Old
	}
	return in.Old
}

// request is the AdmissionRequest without objects and UID.
func (in *Input) request() *admissionv1.AdmissionRequest {
	a := in.Admission
	kind, resource := in.Kind, in.Resource
	if kind == (schema.GroupVersionKind{}) {
		kind = a.Kind
	}
	if resource == (schema.GroupVersionResource{}) {
		resource = a.Resource
	}
	requested, of := metav1.GroupVersionKind(a.Kind), metav1.GroupVersionResource(a.Resource)
	extra := map[string]authenticationv1.ExtraValue{}
	for k, v := range a.User.Extra {
		extra[k] = v
	}
	dry := a.DryRun
	return &admissionv1.AdmissionRequest{
		Kind: metav1.GroupVersionKind(kind), Resource: metav1.GroupVersionResource(resource), SubResource: a.Sub,
		RequestKind: &requested, RequestResource: &of, RequestSubResource: a.Sub,
		Name: a.Name, Namespace: a.Namespace, Operation: admissionv1.Operation(a.Operation),
		UserInfo: authenticationv1.UserInfo{Username: a.User.Name, UID: a.User.UID, Groups: a.User.Groups, Extra: extra},
		DryRun:   &dry, Options: runtime.RawExtension{Object: a.Options},
	}
}

// shown is a namespace without what expressions shouldn't see.
func shown(ns *corev1.Namespace) *corev1.Namespace {
	if ns == nil {
		return nil
	}
	return &corev1.Namespace{Status: ns.Status, Spec: ns.Spec, ObjectMeta: metav1.ObjectMeta{
		Name: ns.Name, GenerateName: ns.GenerateName, Namespace: ns.Namespace, UID: ns.UID,
		ResourceVersion: ns.ResourceVersion, Generation: ns.Generation, CreationTimestamp: ns.CreationTimestamp,
		DeletionTimestamp: ns.DeletionTimestamp, DeletionGracePeriodSeconds: ns.DeletionGracePeriodSeconds,
		Labels: ns.Labels, Annotations: ns.Annotations, Finalizers: ns.Finalizers,
	}}
}

// The types of request and namespaceObject are declared, so that a wrong name is found when the expression is written.

func object(name string, into map[string]*decl, fields map[string]*decl) *decl {
	d := &decl{typ: celgo.ObjectType(name), fields: fields, least: 2}
	into[name] = d
	return d
}

func listOfDecl(elem *decl) *decl {
	return &decl{typ: celgo.ListType(elem.typ), elem: elem, most: -1, least: 2}
}

func mapOfDecl(elem *decl) *decl {
	key := scalar(celgo.StringType, 0, leastString)
	return &decl{typ: celgo.MapType(key.typ, elem.typ), key: key, elem: elem, most: -1, least: 2}
}

func declareRequest(into map[string]*decl) *decl {
	text := scalar(celgo.StringType, 0, leastString)
	kind := object("kubernetes.GroupVersionKind", into, map[string]*decl{"group": text, "version": text, "kind": text})
	resource := object("kubernetes.GroupVersionResource", into, map[string]*decl{"group": text, "version": text, "resource": text})
	user := object("kubernetes.UserInfo", into, map[string]*decl{
		"username": text, "uid": text, "groups": listOfDecl(text), "extra": mapOfDecl(listOfDecl(text)),
	})
	return object("kubernetes.AdmissionRequest", into, map[string]*decl{
		"kind": kind, "resource": resource, "subResource": text,
		"requestKind": kind, "requestResource": resource, "requestSubResource": text,
		"name": text, "namespace": text, "operation": text, "userInfo": user,
		"dryRun": scalar(celgo.BoolType, 0, leastBool), "options": scalar(celgo.DynType, 0, 1),
	})
}

func declareNamespace(into map[string]*decl) *decl {
	text, number := scalar(celgo.StringType, 0, leastString), scalar(celgo.IntType, 0, leastNumber)
	at := scalar(celgo.TimestampType, 0, leastDate)
	condition := object("kubernetes.NamespaceCondition", into, map[string]*decl{
		"status": text, "type": text, "lastTransitionTime": at, "message": text, "reason": text,
	})
	return object("kubernetes.Namespace", into, map[string]*decl{
		"metadata": object("kubernetes.NamespaceMetadata", into, map[string]*decl{
			"name": text, "generateName": text, "namespace": text, "labels": mapOfDecl(text), "annotations": mapOfDecl(text),
			"UID": text, "creationTimestamp": at, "deletionGracePeriodSeconds": number, "deletionTimestamp": at,
			"generation": number, "resourceVersion": text, "finalizers": listOfDecl(text),
		}),
		"spec":   object("kubernetes.NamespaceSpec", into, map[string]*decl{"finalizers": listOfDecl(text)}),
		"status": object("kubernetes.NamespaceStatus", into, map[string]*decl{"conditions": listOfDecl(condition), "phase": text}),
	})
}
