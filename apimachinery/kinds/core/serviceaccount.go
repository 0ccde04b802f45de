package core

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// mountableSecrets is the annotation by which pods of an account may mount no secrets but its own.
const mountableSecrets = "kubernetes.io/enforce-mountable-secrets"

// ServiceAccounts declares v1 ServiceAccount. Its token subresource is a connector named
// "serviceaccounts/token", which the assembler hands to the server with whatever issues tokens.
func ServiceAccounts() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Resource: "serviceaccounts"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &corev1.ServiceAccount{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
			Plural:           "serviceaccounts", Short: []string{"sa"},
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.AgeColumn(),
			},
		}},
		ValidName: validation.ValidateServiceAccountName,
		Prepare: func(_ context.Context, new, _ apimachinery.Object) {
			refs := new.(*corev1.ServiceAccount).Secrets
			for i := range refs {
				refs[i] = corev1.ObjectReference{Name: refs[i].Name}
			}
		},
		Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList { return ValidateFinalizers(new) },
		Warnings: func(new, old apimachinery.Object) []string {
			_, now := new.GetAnnotations()[mountableSecrets]
			if old != nil {
				if _, before := old.GetAnnotations()[mountableSecrets]; before {
					return nil
				}
			}
			if !now {
				return nil
			}
			return []string{"metadata.annotations[" + mountableSecrets + "]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"}
		},
		Echo: true,
		Subs: map[string]apimachinery.Subresource{"token": {
			Kind:    authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"),
			New:     func() apimachinery.Object { return &authenticationv1.TokenRequest{} },
			Verbs:   []string{apimachinery.VerbCreate},
			Connect: "serviceaccounts/token",
		}},
	}
}
