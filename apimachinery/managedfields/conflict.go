package managedfields

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Conflict is a field that a manager wants to set and another one owns with a different value.
type Conflict struct {
	Manager Manager // the owner
	Path    string  // ".spec.replicas"
}

// owner names the manager as Kubernetes does in messages.
func (c Conflict) owner() string {
	name := fmt.Sprintf("%q", c.Manager.Name)
	if c.Manager.Subresource != "" {
		name += fmt.Sprintf(" with subresource %q", c.Manager.Subresource)
	}
	if !c.Manager.Apply {
		name += " using " + c.Manager.APIVersion
	}
	return name
}

// ConflictError says that an Apply without force would have taken fields from other managers. A server
// answers 409 with reason Conflict, the text as the message, and the causes.
type ConflictError struct {
	Conflicts []Conflict // sorted by manager, then by path; never empty
}

// Error gives Kubernetes' message.
func (e *ConflictError) Error() string {
	if len(e.Conflicts) == 1 {
		c := e.Conflicts[0]
		return fmt.Sprintf("Apply failed with 1 conflict: conflict with %s: %s", c.owner(), c.Path)
	}
	var lines []string
	for i, c := range e.Conflicts {
		if i == 0 || c.Manager != e.Conflicts[i-1].Manager {
			lines = append(lines, fmt.Sprintf("conflicts with %s:", c.owner()))
		}
		lines = append(lines, "- "+c.Path)
	}
	return fmt.Sprintf("Apply failed with %d conflicts: %s", len(e.Conflicts), strings.Join(lines, "\n"))
}

// Causes gives a cause of type FieldManagerConflict for each conflict.
func (e *ConflictError) Causes() []metav1.StatusCause {
	causes := make([]metav1.StatusCause, 0, len(e.Conflicts))
	for _, c := range e.Conflicts {
		causes = append(causes, metav1.StatusCause{
			Type:    metav1.CauseTypeFieldManagerConflict,
			Message: "conflict with " + c.owner(),
			Field:   c.Path,
		})
	}
	return causes
}

// newConflictError sorts the conflicts of managers, which come in any order but grouped, by their identity.
func newConflictError(conflicts []Conflict) *ConflictError {
	id := func(c Conflict) string {
		operation := metav1.ManagedFieldsOperationUpdate
		if c.Manager.Apply {
			operation = metav1.ManagedFieldsOperationApply
		}
		e := c.Manager.entry(operation)
		return identity(&e.ManagedFieldsEntry)
	}
	slices.SortStableFunc(conflicts, func(a, b Conflict) int { return strings.Compare(id(a), id(b)) })
	return &ConflictError{Conflicts: conflicts}
}

var _ error = (*ConflictError)(nil)
