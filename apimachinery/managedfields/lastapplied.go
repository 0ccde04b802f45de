package managedfields

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/validation"
	utiljson "k8s.io/apimachinery/pkg/util/json"
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

// lastApplied returns what was last applied on the client's side.
func lastApplied(d *tape) string {
	return d.stringAt("metadata", "annotations", lastAppliedAnnotation)
}

// ownedByClientSide returns the fields of the live object that were last applied on the client's side and
// still have that value: it is no conflict to take them. What can't be read is not honoured.
func (a *application) ownedByClientSide() []node {
	text := lastApplied(&a.live)
	if text == "" {
		return nil
	}
	var last map[string]any
	if utiljson.Unmarshal([]byte(text), &last) != nil || last["apiVersion"] != a.by.APIVersion {
		return nil
	}
	raw, err := json.Marshal(last)
	if err != nil {
		return nil
	}
	d := new(tape)
	if _, wrong, err := a.readObject(d, raw); err != nil || len(wrong) > 0 {
		return nil
	}
	live := checker{d: &a.live}
	if len(live.value(a.t, 0)) > 0 { // duplicates, which are good enough elsewhere
		return nil
	}
	set, err := new(owned).fields(a.t, d, Set{})
	if err != nil {
		return nil
	}
	diff, err := (&walker{pair: pair{l: d, r: &a.live}}).changes(a.t, Set{})
	if err != nil {
		return nil
	}
	same, _ := subtract(set, diff)
	return same
}

// renewed returns the merged object with the patch in the annotation of client-side apply, if it has that and the
// manager is kubectl.
func (a *application) renewed(merged []byte, changed bool) ([]byte, error) {
	d := &a.live
	if changed {
		d = &a.obj
	}
	if a.by.Name != kubectl || lastApplied(d) == "" {
		return merged, nil
	}
	var object, patch map[string]any
	if err := errors.Join(utiljson.Unmarshal(merged, &object), utiljson.Unmarshal(a.applied, &patch)); err != nil {
		return nil, fmt.Errorf("merged object: %w", err)
	}
	if err := renewLastApplied(object, patch); err != nil {
		return nil, err
	}
	if text, _ := annotations(object)[lastAppliedAnnotation].(string); !changed && text == lastApplied(&a.live) {
		return merged, nil
	}
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("encode merged object: %w", err)
	}
	return raw, nil
}

// renewLastApplied writes the patch into the annotation, so that client-side apply can take over again. An
// annotation that would be too large goes.
func renewLastApplied(merged, patch map[string]any) error {
	delete(annotations(patch), lastAppliedAnnotation)
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
