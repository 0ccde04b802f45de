package kinds

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

var metadataPath = field.NewPath("metadata")

// judgeMeta is what any server judges of an object's metadata.
func judgeMeta(o runtime.Object, namespaced bool) field.ErrorList {
	return validation.ValidateObjectMetaAccessor(mustMeta(o), namespaced, path.ValidatePathSegmentName, metadataPath)
}

// TestCreate: the corpus is valid in both; what is prepared is equal, and so is what is wrong with objects that differ
// from the corpus in one field.
func TestCreate(t *testing.T) {
	k := newKubernetes()
	for _, p := range pairs() {
		t.Run(p.gvk.Kind, func(t *testing.T) {
			objects := p.objects(t)
			prepared, judged := newReport(), newReport()
			for _, o := range objects {
				if !updatesOnly[o.GetName()] {
					require.Empty(t, createOurs(p, sent(o)), o.GetName())
				}
			}
			m := newMutator(*seed, objects...)
			for _, o := range objects {
				compareCreate(t, k, p, "corpus: "+o.GetName(), o, prepared, judged)
				m.each(o, *oneOf, func(what string, mutated object) { compareCreate(t, k, p, what, mutated, prepared, judged) })
			}
			prepared.check(t, p.gvk.Kind, "prepare for create")
			judged.check(t, p.gvk.Kind, "create")
		})
	}
}

// updatesOnly are objects of the corpus that no create makes: with ephemeral containers.
var updatesOnly = map[string]bool{"done": true}

// createOurs does to o what the server does with a new object.
func createOurs(p pair, o object) field.ErrorList {
	if p.ours.Default != nil {
		p.ours.Default(o)
	}
	o.SetGeneration(0)
	if p.ours.Prepare != nil {
		p.ours.Prepare(background(), o, nil)
	}
	errs := validation.ValidateObjectMetaAccessor(o, p.ours.Namespaced, validName(p), metadataPath)
	if p.ours.Validate != nil {
		errs = append(errs, p.ours.Validate(background(), o, nil)...)
	}
	return errs
}

func validName(p pair) validation.ValidateNameFunc {
	if p.ours.ValidName != nil {
		return p.ours.ValidName
	}
	return validation.NameIsDNSSubdomain
}

func compareCreate(t *testing.T, k kubernetes, p pair, what string, o object, prepared, judged *report) {
	theirs := sent(o)
	k.scheme.Default(theirs)
	in, err := k.internal(theirs)
	require.NoError(t, err, what)
	mustMeta(in).SetGeneration(0)
	p.theirs.prepare(in, nil)
	want := append(p.theirs.validate(in, nil), judgeMeta(in, p.ours.Namespaced)...)
	p.theirs.after(in)
	out, err := k.external(in, p.gvk)
	require.NoError(t, err, what)

	ours := sent(o)
	have := createOurs(p, ours)
	compareVerdicts(what, have, want, judged)
	prepared.compared++
	untimed(ours)
	untimed(out)
	for _, d := range unequal(t, ours, out) {
		prepared.add(d, what)
	}
}

func compareVerdicts(what string, have, want field.ErrorList, judged *report) {
	judged.compared++
	if len(want) > 0 {
		judged.refused++
	}
	ours, theirs := verdictOf(have), verdictOf(want)
	for _, e := range ours.against(theirs) {
		judged.add("only ours: "+e, what)
	}
	for _, e := range theirs.against(ours) {
		judged.add("only theirs: "+e, what)
	}
}

// TestUpdate: a valid object is updated to one that differs in one field, as a whole and through its subresources.
func TestUpdate(t *testing.T) {
	k := newKubernetes()
	for _, p := range pairs() {
		t.Run(p.gvk.Kind, func(t *testing.T) {
			updates(t, k, p, "update", p.theirs, strategy{p.ours.Prepare, p.ours.Validate})
		})
		for name, theirs := range p.subs {
			t.Run(p.gvk.Kind+"/"+name, func(t *testing.T) {
				s := p.ours.Subs[name].Strategy
				require.NotNil(t, s)
				updates(t, k, p, "update of "+name, theirs, strategy{s.Prepare, s.Validate})
			})
		}
	}
}

func updates(t *testing.T, k kubernetes, p pair, what string, theirs rules, ours strategy) {
	prepared, judged := newReport(), newReport()
	objects := p.objects(t)
	m := newMutator(*seed, objects...)
	for _, o := range objects {
		old := sent(o)
		if p.ours.Default != nil {
			p.ours.Default(old)
		}
		u := update{k, p, theirs, ours, prepared, judged}
		u.compare(t, "corpus: "+o.GetName(), sent(old), old)
		m.each(old, *oneOf, func(what string, mutated object) { u.compare(t, what, mutated, old) })
	}
	prepared.check(t, p.gvk.Kind, "prepare for "+what)
	judged.check(t, p.gvk.Kind, what)
}

type strategy struct {
	Prepare  func(ctx context.Context, new, old apimachinery.Object)
	Validate func(ctx context.Context, new, old apimachinery.Object) field.ErrorList
}

type update struct {
	k                kubernetes
	p                pair
	theirs           rules
	ours             strategy
	prepared, judged *report
}

func (u update) compare(t *testing.T, what string, new, old object) {
	in, out := sent(new), sent(old)
	u.k.scheme.Default(in)
	u.k.scheme.Default(out)
	n, err := u.k.internal(in)
	require.NoError(t, err, what)
	o, err := u.k.internal(out)
	require.NoError(t, err, what)
	mustMeta(n).SetGeneration(old.GetGeneration())
	u.theirs.prepare(n, o)
	if d := mustMeta(o).GetDeletionTimestamp(); d != nil { // whatever the strategy says
		mustMeta(n).SetDeletionTimestamp(d)
	}
	want := append(u.theirs.validate(n, o), validation.ValidateObjectMetaAccessorUpdate(mustMeta(n), mustMeta(o), metadataPath)...)
	want = append(want, judgeMeta(n, u.p.ours.Namespaced)...)
	u.theirs.after(n)
	stored, err := u.k.external(n, u.p.gvk)
	require.NoError(t, err, what)

	ours, before := sent(new), sent(old)
	if u.p.ours.Default != nil {
		u.p.ours.Default(ours)
	}
	have := u.updateOurs(ours, before)
	compareVerdicts(what, have, want, u.judged)
	u.prepared.compared++
	untimed(ours)
	untimed(stored)
	for _, d := range unequal(t, ours, stored) {
		u.prepared.add(d, what)
	}
}

// updateOurs does to new what the server does with an update.
func (u update) updateOurs(new, old apimachinery.Object) field.ErrorList {
	new.SetGeneration(old.GetGeneration())
	if u.ours.Prepare != nil {
		u.ours.Prepare(background(), new, old)
	}
	errs := validation.ValidateObjectMetaAccessorUpdate(new, old, metadataPath)
	if old.GetDeletionTimestamp() == nil {
		errs = append(errs, validation.ValidateFinalizers(new.GetFinalizers(), metadataPath.Child("finalizers"))...)
	}
	if u.ours.Validate != nil {
		errs = append(errs, u.ours.Validate(background(), new, old)...)
	}
	return errs
}
