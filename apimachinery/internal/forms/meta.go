package forms

import (
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AreLabels says whether all keys and values can be labels.
func AreLabels(labels map[string]string) bool {
	for key, value := range labels {
		if !IsQualifiedName(key) || !IsLabelValue(value) {
			return false
		}
	}
	return true
}

// AreAnnotations says whether these can surely be annotations: of keys with capitals before the slash, which may be,
// it says no.
func AreAnnotations(annotations map[string]string) bool {
	size := 0
	for key, value := range annotations {
		if size += len(key) + len(value); !IsQualifiedName(key) {
			return false
		}
	}
	return size <= validation.TotalAnnotationSizeLimitB
}

// IsSelector says whether s is a sound label selector, nil included.
func IsSelector(s *metav1.LabelSelector) bool {
	if s == nil {
		return true
	}
	for i := range s.MatchExpressions {
		if !isRequirement(&s.MatchExpressions[i]) {
			return false
		}
	}
	return AreLabels(s.MatchLabels)
}

func isRequirement(r *metav1.LabelSelectorRequirement) bool {
	switch r.Operator {
	case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn:
		if len(r.Values) == 0 {
			return false
		}
	case metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			return false
		}
	default:
		return false
	}
	for _, value := range r.Values {
		if !IsLabelValue(value) {
			return false
		}
	}
	return IsQualifiedName(r.Key)
}
