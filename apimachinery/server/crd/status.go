package crd

import (
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// judge brings the status of a definition up to date, given the names that others have in its group. It says whether
// anything changed. It is a function of its arguments; now is for the times of transitions alone.
func judge(d *apiext.CustomResourceDefinition, others *taken, now metav1.Time) (changed bool) {
	before := d.Status.DeepCopy()
	names, reason, err := accept(d.Spec.Names, d.Status.AcceptedNames, others)
	d.Status.AcceptedNames = names
	if err == nil {
		set(d, apiext.NamesAccepted, apiext.ConditionTrue, "NoConflicts", "no conflicts found", now)
	} else {
		set(d, apiext.NamesAccepted, apiext.ConditionFalse, reason, err.Error(), now)
	}
	switch {
	case isTrue(d, apiext.Established):
	case err != nil:
		set(d, apiext.Established, apiext.ConditionFalse, "NotAccepted", "not all names are accepted", now)
	case d.DeletionTimestamp == nil:
		set(d, apiext.Established, apiext.ConditionTrue, "InitialNamesAccepted", "the initial names have been accepted", now)
	}
	approve(d, now)
	return !equality.Semantic.DeepEqual(*before, d.Status)
}

// set writes a condition, unless it says the same already.
func set(d *apiext.CustomResourceDefinition, typ apiext.CustomResourceDefinitionConditionType, status apiext.ConditionStatus, reason, message string, now metav1.Time) {
	c := apiext.CustomResourceDefinitionCondition{
		Type: typ, Status: status, Reason: reason, Message: message, LastTransitionTime: now,
	}
	for i := range d.Status.Conditions {
		have := &d.Status.Conditions[i]
		if have.Type != typ {
			continue
		}
		if have.Status == status && !have.LastTransitionTime.IsZero() {
			c.LastTransitionTime = have.LastTransitionTime
		}
		c.ObservedGeneration = have.ObservedGeneration
		*have = c
		return
	}
	d.Status.Conditions = append(d.Status.Conditions, c)
}

func isTrue(d *apiext.CustomResourceDefinition, typ apiext.CustomResourceDefinitionConditionType) bool {
	for i := range d.Status.Conditions {
		if c := &d.Status.Conditions[i]; c.Type == typ {
			return c.Status == apiext.ConditionTrue
		}
	}
	return false
}
