package crd

import (
	"errors"
	"fmt"
	"slices"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// taken are the names of a group that others have.
type taken struct {
	resources, kinds map[string]bool
}

func (t *taken) add(n *apiext.CustomResourceDefinitionNames) {
	t.resources[n.Plural], t.resources[n.Singular] = true, true
	for _, short := range n.ShortNames {
		t.resources[short] = true
	}
	t.kinds[n.Kind], t.kinds[n.ListKind] = true, true
}

func newTaken() *taken { return &taken{map[string]bool{}, map[string]bool{}} }

// accept returns the names that a definition gets: those that it wants, as far as it has them already or nobody else
// in its group does. reason is "" if it gets all of them.
func accept(want, have apiext.CustomResourceDefinitionNames, t *taken) (got apiext.CustomResourceDefinitionNames, reason string, err error) {
	got = have
	one := func(want, have string, to *string, in map[string]bool, conflict string) {
		if want != have && in[want] {
			reason, err = conflict, fmt.Errorf("%q is already in use", want)
			return
		}
		*to = want
	}
	one(want.Plural, have.Plural, &got.Plural, t.resources, "PluralConflict")
	one(want.Singular, have.Singular, &got.Singular, t.resources, "SingularConflict")
	if !slices.Equal(want.ShortNames, have.ShortNames) {
		var bad []error
		for _, short := range want.ShortNames {
			if !slices.Contains(have.ShortNames, short) && t.resources[short] {
				bad = append(bad, fmt.Errorf("%q is already in use", short))
			}
		}
		if len(bad) > 0 {
			reason, err = "ShortNamesConflict", errors.Join(bad...)
		} else {
			got.ShortNames = slices.Clone(want.ShortNames)
		}
	}
	one(want.Kind, have.Kind, &got.Kind, t.kinds, "KindConflict")
	one(want.ListKind, have.ListKind, &got.ListKind, t.kinds, "ListKindConflict")
	got.Categories = slices.Clone(want.Categories)
	return got, reason, err
}
