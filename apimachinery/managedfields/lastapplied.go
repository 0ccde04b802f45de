package managedfields

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/merge"
)

// kubectl is the manager whose annotation of client-side apply is honoured and kept up to date.
const (
	kubectl               = "kubectl"
	lastAppliedAnnotation = "kubectl.kubernetes.io/last-applied-configuration"
)

func annotations(object map[string]any) map[string]any {
	metadata, _ := object["metadata"].(map[string]any)
	list, _ := metadata["annotations"].(map[string]any)
	return list
}

// annotation returns what was last applied on the client's side.
func annotation(object map[string]any) string {
	text, _ := annotations(object)[lastAppliedAnnotation].(string)
	return text
}

// retry applies by force if all conflicts are about fields that the live object has from client-side apply;
// else it returns the other conflicts.
func (a *application) retry(managed []metav1.ManagedFieldsEntry, conflicts merge.Conflicts) (*result, error) {
	allowed, err := a.ownedByClientSide()
	if err != nil {
		return nil, conflicts // there is nothing, or nothing readable, to honour
	}
	var rest merge.Conflicts
	for _, c := range conflicts {
		if !allowed.Has(c.Path) {
			rest = append(rest, c)
		}
	}
	if len(rest) > 0 {
		return nil, rest
	}
	return a.run(managed, true)
}

// ownedByClientSide returns the fields that were last applied on the client's side and still have that value.
func (a *application) ownedByClientSide() (*fieldpath.Set, error) {
	if a.lastApplied == "" {
		return nil, errors.New("nothing was applied on the client's side")
	}
	var last map[string]any
	if err := utiljson.Unmarshal([]byte(a.lastApplied), &last); err != nil {
		return nil, fmt.Errorf("read last applied configuration: %w", err)
	}
	if last["apiVersion"] != a.by.APIVersion {
		return nil, fmt.Errorf("last applied configuration is of version %v", last["apiVersion"])
	}
	if err := a.typedLive.Validate(); err != nil {
		return nil, err // a live object with duplicates, which is good enough elsewhere
	}
	typed, err := a.typ.FromUnstructured(last)
	if err != nil {
		return nil, err
	}
	set, err := typed.ToFieldSet()
	if err != nil {
		return nil, err
	}
	diff, err := typed.Compare(a.typedLive)
	if err != nil {
		return nil, err
	}
	return set.Difference(diff.Modified).Difference(diff.Added).Difference(diff.Removed), nil
}

// renewLastApplied writes the patch into the annotation, so that client-side apply can take over again. An
// annotation that would be too large goes.
func (a *application) renewLastApplied(merged map[string]any) error {
	patch := maps.Clone(a.patch)
	if metadata, ok := patch["metadata"].(map[string]any); ok {
		metadata = maps.Clone(metadata)
		if list := maps.Clone(annotations(patch)); list != nil {
			delete(list, lastAppliedAnnotation)
			metadata["annotations"] = list
		}
		patch["metadata"] = metadata
	}
	text, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encode applied configuration: %w", err)
	}
	list := annotations(merged)
	list[lastAppliedAnnotation] = string(text) + "\n"
	sizes := map[string]string{}
	for key, value := range list {
		sizes[key], _ = value.(string)
	}
	if validation.ValidateAnnotationsSize(sizes) != nil {
		delete(list, lastAppliedAnnotation)
	}
	return nil
}
