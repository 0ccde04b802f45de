package deployment

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

const hashLabel = appsv1.DefaultDeploymentUniqueLabelKey

// sameTemplate compares templates, apart from the hash that sets add to theirs.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	for _, t := range []*corev1.PodTemplateSpec{a, b} {
		delete(t.Labels, hashLabel)
	}
	return equality.Semantic.DeepEqual(a, b)
}

// findNew is the set that has the deployment's template; the oldest, should there be several.
func findNew(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	for _, rs := range byAge(sets) {
		if sameTemplate(&rs.Spec.Template, &d.Spec.Template) {
			return rs
		}
	}
	return nil
}

func byAge(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	sets = slices.Clone(sets)
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return sets
}

// bySize puts the largest first, and of equals the newer or the older.
func bySize(sets []*appsv1.ReplicaSet, newerFirst bool) []*appsv1.ReplicaSet {
	sets = byAge(sets)
	if newerFirst {
		slices.Reverse(sets)
	}
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Compare(size(b.Spec.Replicas), size(a.Spec.Replicas))
	})
	return sets
}

// hash names a template. collisions makes another one of it, where the name was taken.
func hash(t *corev1.PodTemplateSpec, collisions *int32) (string, error) {
	body, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("hash the pod template: %w", err)
	}
	h := fnv.New32a()
	h.Write(body)
	if collisions != nil {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(*collisions)))
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32())), nil
}

// newSet is the set for the deployment's template, with n replicas.
func newSet(d *appsv1.Deployment, collisions *int32) (*appsv1.ReplicaSet, error) {
	id, err := hash(&d.Spec.Template, collisions)
	if err != nil {
		return nil, err
	}
	t := d.Spec.Template.DeepCopy()
	if t.Labels = maps.Clone(t.Labels); t.Labels == nil {
		t.Labels = map[string]string{}
	}
	t.Labels[hashLabel] = id
	selector := d.Spec.Selector.DeepCopy()
	if selector.MatchLabels == nil {
		selector.MatchLabels = map[string]string{}
	}
	selector.MatchLabels[hashLabel] = id
	none := int32(0)
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: d.Name + "-" + id, Namespace: d.Namespace, Labels: maps.Clone(t.Labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &none, MinReadySeconds: d.Spec.MinReadySeconds, Selector: selector, Template: *t},
	}, nil
}
