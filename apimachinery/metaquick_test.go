package apimachinery

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"pgregory.net/rapid"
)

var metaWords = rapid.SampledFrom([]string{
	"a", "web-1", "v1", "apps/v1", "Event", "FieldsV1", "Update", "Apply", "example.com/x", "orphan", "foregroundDeletion",
	"", "-", "a-", "a--", "A", "a/b/c", "/v1", "v1/", "/", "Example.com/x", "a b", "é", "a\n", "..", "a%2F", strings.Repeat("a", 64), strings.Repeat("a", 129), strings.Repeat("a", 257),
})

// aMeta draws metadata that is often nearly right.
func aMeta(t *rapid.T) *metav1.ObjectMeta {
	odd := func() bool { return rapid.IntRange(0, 11).Draw(t, "odd") == 0 }
	word := func(usual string) string {
		if odd() {
			return metaWords.Draw(t, "word")
		}
		return usual
	}
	seconds, yes := int64(5), true
	m := &metav1.ObjectMeta{
		Name: word("web-1"), GenerateName: word(""), Namespace: word("default"), UID: types.UID(word("u")), ResourceVersion: word("5"),
		Labels: map[string]string{word("app"): word("web")}, Annotations: map[string]string{word("a"): word("any thing")},
		CreationTimestamp: metav1.Unix(7, 0), Generation: 3,
	}
	if odd() {
		m.Generation = rapid.Int64Range(-1, 4).Draw(t, "generation")
	}
	if odd() {
		m.CreationTimestamp = metav1.Time{Time: time.Unix(rapid.Int64Range(7, 8).Draw(t, "created"), 0).UTC()}
	}
	if odd() {
		m.DeletionTimestamp = &metav1.Time{Time: time.Unix(9, 0)}
	}
	if odd() {
		m.DeletionGracePeriodSeconds = &seconds
	}
	for range rapid.IntRange(0, 2).Draw(t, "owners") {
		r := metav1.OwnerReference{APIVersion: word("apps/v1"), Kind: word("ReplicaSet"), Name: word("web"), UID: types.UID(word("o"))}
		if odd() {
			r.Controller = &yes
		}
		m.OwnerReferences = append(m.OwnerReferences, r)
	}
	for range rapid.IntRange(0, 2).Draw(t, "finalizers") {
		m.Finalizers = append(m.Finalizers, word(rapid.SampledFrom([]string{"example.com/f", "orphan", "foregroundDeletion"}).Draw(t, "finalizer")))
	}
	for range rapid.IntRange(0, 2).Draw(t, "managers") {
		m.ManagedFields = append(m.ManagedFields, metav1.ManagedFieldsEntry{
			Manager: word("kubectl"), Operation: metav1.ManagedFieldsOperationType(word("Update")), FieldsType: word("FieldsV1"), Subresource: word("status"),
		})
	}
	return m
}

// verdicts counts what is called sound, and what is sound but not called so.
type verdicts struct{ sound, missed int }

// compare draws metadata; nothing may be found in what is called sound.
func (v *verdicts) compare(t *rapid.T) {
	at := field.NewPath("metadata")
	n, old := aMeta(t), aMeta(t)
	namespaced := rapid.IntRange(0, 9).Draw(t, "namespaced") > 0
	v.count(t, SoundNewMeta(n, namespaced, nil), validation.ValidateObjectMetaAccessor(n, namespaced, validation.NameIsDNSSubdomain, at))
	own := validation.ValidateNameFunc(path.ValidatePathSegmentName)
	v.count(t, SoundNewMeta(n, namespaced, own), validation.ValidateObjectMetaAccessor(n, namespaced, own, at))
	v.count(t, SoundMetaUpdate(n, old), append(validation.ValidateObjectMetaAccessorUpdate(n, old, at), validation.ValidateFinalizers(n.Finalizers, at)...))
}

func (v *verdicts) count(t *rapid.T, said bool, errs field.ErrorList) {
	switch {
	case said:
		v.sound++
		require.Empty(t, errs)
	case len(errs) == 0:
		v.missed++
	}
}

// TestSoundMeta: nearly all that is sound is called so.
func TestSoundMeta(t *testing.T) {
	v := &verdicts{}
	rapid.Check(t, v.compare)
	require.Greater(t, v.sound, 2*v.missed, "sound %d, missed %d", v.sound, v.missed)
}

func FuzzSoundMeta(f *testing.F) { f.Fuzz(rapid.MakeFuzz((&verdicts{}).compare)) }

// TestSoundNamesAreSegments: what is taken for a name without asking further is one segment of a path.
func TestSoundNamesAreSegments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &metav1.ObjectMeta{Name: rapid.StringMatching(`[a./%-]{1,5}`).Draw(t, "name"), GenerateName: rapid.StringMatching(`[a./%-]{0,5}`).Draw(t, "prefix")}
		if SoundNewMeta(m, false, nil) {
			require.Empty(t, path.IsValidPathSegmentName(m.Name))
			require.Empty(t, path.IsValidPathSegmentPrefix(m.GenerateName))
		}
	})
}

// podMeta is the metadata of a pod that a controller made.
func podMeta() *metav1.ObjectMeta {
	yes := true
	return &metav1.ObjectMeta{
		Name: "web-5d59d67564-x2x8k", GenerateName: "web-5d59d67564-", Namespace: "default", UID: "6f1c3b4e-0d4b-4a58-8f07-000000000000", ResourceVersion: "7",
		Labels:      map[string]string{"app.kubernetes.io/name": "web", "tier": "front", "pod-template-hash": "5d59d67564"},
		Annotations: map[string]string{"example.com/config": "0123456789abcdef"},
		OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-5d59d67564", UID: "6f1c3b4e-0d4b-4a58-8f07-000000000001", Controller: &yes},
		},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "controller", Operation: "Update", FieldsType: "FieldsV1"}},
	}
}

func BenchmarkMeta(b *testing.B) {
	m, at := podMeta(), field.NewPath("metadata")
	found := func(b *testing.B, errs field.ErrorList) {
		if len(errs) > 0 {
			b.Fatal(errs)
		}
	}
	for name, judge := range map[string]func(b *testing.B){
		"create/kubernetes": func(b *testing.B) {
			found(b, validation.ValidateObjectMetaAccessor(m, true, validation.NameIsDNSSubdomain, at))
		},
		"create/quick": func(b *testing.B) {
			if !SoundNewMeta(m, true, nil) {
				b.Fatal("not sound")
			}
		},
		"update/kubernetes": func(b *testing.B) { found(b, validation.ValidateObjectMetaAccessorUpdate(m, m, at)) },
		"update/quick": func(b *testing.B) {
			if !SoundMetaUpdate(m, m) {
				b.Fatal("not sound")
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				judge(b)
			}
		})
	}
}
