package crd

import (
	"fmt"
	"net/url"
	"strings"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// approve says in a condition whether the community has approved an API in one of its groups.
func approve(d *apiext.CustomResourceDefinition, now metav1.Time) {
	if !protected(d.Spec.Group) {
		return
	}
	text := d.Annotations[apiext.KubeAPIApprovedAnnotation]
	u, err := url.ParseRequestURI(text)
	status, reason, message := apiext.ConditionFalse, "", ""
	switch {
	case text == "":
		reason = "MissingAnnotation"
		message = fmt.Sprintf("protected groups must have approval annotation %q, see https://github.com/kubernetes/enhancements/pull/1111", apiext.KubeAPIApprovedAnnotation)
	case strings.HasPrefix(text, "unapproved"):
		reason, message = "UnapprovedAnnotation", fmt.Sprintf("not approved: %q", text)
	case err == nil && u.Host != "" && u.Scheme != "":
		status, reason, message = apiext.ConditionTrue, "ApprovedAnnotation", "approved in "+text
	default:
		reason = "InvalidAnnotation"
		message = fmt.Sprintf("protected groups must have approval annotation %q with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111", apiext.KubeAPIApprovedAnnotation)
	}
	set(d, apiext.KubernetesAPIApprovalPolicyConformant, status, reason, message, now)
}

// protected says whether a group belongs to the Kubernetes community.
func protected(group string) bool {
	for _, of := range []string{"k8s.io", "kubernetes.io"} {
		if group == of || strings.HasSuffix(group, "."+of) {
			return true
		}
	}
	return false
}
