package deployment

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// World is what a Deployment's controller sees. Nothing in it is changed.
type World struct {
	Deployment *appsv1.Deployment
	// Sets are the ReplicaSets that the deployment controls.
	Sets []*appsv1.ReplicaSet
	// OldPods says whether pods of other templates than the deployment's run still. It counts for Recreate alone.
	OldPods bool
	Now     time.Time
}

// Plan is what is to be done, in this order.
type Plan struct {
	// Create is the set for a new template; nil if it is there.
	Create *appsv1.ReplicaSet
	// Update are the sets whose size or annotations change.
	Update []*appsv1.ReplicaSet
	// Delete are the sets that the history does not keep.
	Delete []*appsv1.ReplicaSet
	// Status is the deployment's status and Revision its annotation, as they should be.
	Status   appsv1.DeploymentStatus
	Revision string
	// Events are what users are told.
	Events []string
	// After is when to look again though nothing happens; 0: never.
	After time.Duration
}

// planner works a plan out, on copies.
type planner struct {
	d       *appsv1.Deployment
	status  appsv1.DeploymentStatus // as it is, with the conditions that have been set on the way
	sets    []*appsv1.ReplicaSet
	new     *appsv1.ReplicaSet
	old     []*appsv1.ReplicaSet
	now     time.Time
	oldPods bool
	before  map[string]*appsv1.ReplicaSet // by name, as they are
	create  bool
	plan    Plan
}

// Diff works out what is to be done. It is a pure function.
func Diff(w World) (Plan, error) {
	p := &planner{
		d: w.Deployment, status: *w.Deployment.Status.DeepCopy(), now: w.Now, oldPods: w.OldPods,
		before: map[string]*appsv1.ReplicaSet{},
	}
	for _, rs := range w.Sets {
		p.before[rs.Name] = rs
		p.sets = append(p.sets, rs.DeepCopy())
	}
	if err := p.decide(); err != nil {
		return Plan{}, err
	}
	p.collect()
	return p.plan, nil
}

func (p *planner) decide() error {
	p.plan.Revision = p.d.Annotations[revisionAnnotation]
	p.sort()
	if p.d.DeletionTimestamp != nil {
		p.plan.Status = *p.counted()
		return nil
	}
	p.checkPaused()
	if p.d.Spec.Paused || p.resized() {
		p.adoptRevision()
		p.scale()
		if p.d.Spec.Paused {
			p.cleanUp()
		}
		p.plan.Status = *p.counted()
		return nil
	}
	if p.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return p.recreate()
	}
	return p.roll()
}

// sort tells the new set from the old ones.
func (p *planner) sort() {
	p.new, p.old = findNew(p.d, p.sets), nil
	for _, rs := range byAge(p.sets) {
		if p.new == nil || rs.Name != p.new.Name {
			p.old = append(p.old, rs)
		}
	}
}

func (p *planner) all() []*appsv1.ReplicaSet {
	if p.new == nil {
		return p.old
	}
	return append(p.old[:len(p.old):len(p.old)], p.new)
}

func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	return slices.DeleteFunc(slices.Clone(sets), func(rs *appsv1.ReplicaSet) bool { return size(rs.Spec.Replicas) == 0 })
}

// resized says whether the deployment's size was changed since its active sets were given theirs.
func (p *planner) resized() bool {
	for _, rs := range active(p.all()) {
		if n, ok := number(rs, desiredAnnotation); ok && n != size(p.d.Spec.Replicas) {
			return true
		}
	}
	return false
}

// adoptRevision makes the new set, if it is there, the newest revision: after an undo it is an old one.
func (p *planner) adoptRevision() {
	if p.new == nil {
		return
	}
	annotate(p.d, p.new, maxRevision(p.old)+1, false)
	p.new.Spec.MinReadySeconds = p.d.Spec.MinReadySeconds
	p.plan.Revision = p.new.Annotations[revisionAnnotation]
	if hasDeadline(p.d) && condition(&p.status, appsv1.DeploymentProgressing) == nil {
		setCondition(&p.status, progressing("True", reasonFoundSet, "Found new replica set %q", p.new.Name), p.now)
	}
}

// ensureNew makes the set for the deployment's template, if it isn't there.
func (p *planner) ensureNew() error {
	if p.new != nil {
		p.adoptRevision()
		return nil
	}
	rs, err := newSet(p.d, p.status.CollisionCount)
	if err != nil {
		return err
	}
	n := newSize(p.d, p.old, 0)
	rs.Spec.Replicas = &n
	annotate(p.d, rs, maxRevision(p.old)+1, true)
	p.new, p.create = rs, true
	p.plan.Revision = rs.Annotations[revisionAnnotation]
	if n > 0 {
		p.tell("Scaled up replica set %s from 0 to %d", rs.Name, n)
	}
	if hasDeadline(p.d) {
		setCondition(&p.status, progressing("True", reasonNewSet, "Created new replica set %q", rs.Name), p.now)
	}
	return nil
}

func (p *planner) tell(format string, args ...any) {
	p.plan.Events = append(p.plan.Events, fmt.Sprintf(format, args...))
}

// resize gives a set another size, and says whether it is another.
func (p *planner) resize(rs *appsv1.ReplicaSet, n int32) bool {
	setSizes(p.d, rs)
	was := size(rs.Spec.Replicas)
	if was == n {
		return false
	}
	rs.Spec.Replicas = &n
	word := "down"
	if n > was {
		word = "up"
	}
	p.tell("Scaled %s replica set %s from %d to %d", word, rs.Name, was, n)
	return true
}

// roll replaces old pods by new ones within the limits.
func (p *planner) roll() error {
	if err := p.ensureNew(); err != nil {
		return err
	}
	if !p.create && !p.growNew() && !p.shrinkOld() && complete(p.d, &p.status) {
		p.cleanUp()
	}
	p.plan.Status, p.plan.After = p.rollout()
	return nil
}

func (p *planner) growNew() bool {
	have, want := size(p.new.Spec.Replicas), size(p.d.Spec.Replicas)
	switch {
	case have == want:
		return false
	case have > want:
		return p.resize(p.new, want)
	}
	return p.resize(p.new, newSize(p.d, p.all(), have))
}

// shrinkOld takes pods from the old sets, those that aren't available first, as many as may be missing.
func (p *planner) shrinkOld() bool {
	if specSum(p.old) == 0 {
		return false
	}
	least := size(p.d.Spec.Replicas) - maxUnavailable(p.d)
	notYet := size(p.new.Spec.Replicas) - serving(p.new)
	room := specSum(p.all()) - least - notYet
	if room <= 0 {
		return false
	}
	changed := false
	for _, rs := range byAge(p.old) {
		n := min(room, size(rs.Spec.Replicas)-serving(rs))
		if n <= 0 {
			continue
		}
		room -= n
		changed = p.resize(rs, size(rs.Spec.Replicas)-n) || changed
	}
	room = -least
	for _, rs := range p.all() {
		room += serving(rs)
	}
	for _, rs := range byAge(p.old) {
		n := min(room, size(rs.Spec.Replicas))
		if n <= 0 {
			continue
		}
		room -= n
		changed = p.resize(rs, size(rs.Spec.Replicas)-n) || changed
	}
	return changed
}

// recreate takes all old pods away before it makes new ones.
func (p *planner) recreate() error {
	p.adoptRevision()
	changed := false
	for _, rs := range active(p.old) {
		changed = p.resize(rs, 0) || changed
	}
	if changed || actualSum(p.old) > 0 || p.oldPods {
		p.plan.Status, p.plan.After = p.rollout()
		return nil
	}
	if err := p.ensureNew(); err != nil {
		return err
	}
	if !p.create && !p.growNew() && complete(p.d, &p.status) {
		p.cleanUp()
	}
	p.plan.Status, p.plan.After = p.rollout()
	return nil
}

// scale spreads a change of the deployment's size over its sets.
func (p *planner) scale() {
	want := size(p.d.Spec.Replicas)
	if rs, ok := p.onlyActive(); ok {
		if rs != nil {
			p.resize(rs, want)
		}
		return
	}
	if p.saturated() {
		for _, rs := range active(p.old) {
			p.resize(rs, 0)
		}
		return
	}
	if rolling(p.d) {
		p.spread(want)
	}
}

// spread gives each active set its share of a change of the deployment's size; what is left over goes to the largest.
func (p *planner) spread(want int32) {
	sets := active(p.all())
	var most int32
	if want > 0 {
		most = want + maxSurge(p.d)
	}
	toAdd := most - specSum(sets)
	sets = bySize(sets, toAdd > 0)
	var added int32
	sizes := make([]int32, len(sets))
	for i, rs := range sets {
		sizes[i] = size(rs.Spec.Replicas)
		if toAdd != 0 {
			share := proportion(p.d, rs, toAdd, added)
			sizes[i] += share
			added += share
		}
	}
	for i, rs := range sets {
		if i == 0 && toAdd != 0 {
			sizes[0] = max(0, sizes[0]+toAdd-added)
		}
		p.resize(rs, sizes[i])
	}
}

// onlyActive is the one set that is to be scaled, if it is only one: the active one or, if there is none, the new
// one or else the youngest. It is nil if there is none at all.
func (p *planner) onlyActive() (*appsv1.ReplicaSet, bool) {
	switch now := active(p.all()); {
	case len(now) > 1:
		return nil, false
	case len(now) == 1:
		return now[0], true
	case p.new != nil:
		return p.new, true
	case len(p.old) > 0:
		return p.old[len(p.old)-1], true
	}
	return nil, true
}

// saturated says whether the new set alone is all that there should be.
func (p *planner) saturated() bool {
	if p.new == nil {
		return false
	}
	n, ok := number(p.new, desiredAnnotation)
	want := size(p.d.Spec.Replicas)
	return ok && n == want && size(p.new.Spec.Replicas) == want && p.new.Status.AvailableReplicas == want
}

// cleanUp drops the oldest of the old sets, beyond the limit of the history.
func (p *planner) cleanUp() {
	if p.d.Spec.RevisionHistoryLimit == nil {
		return
	}
	alive := slices.DeleteFunc(slices.Clone(p.old), func(rs *appsv1.ReplicaSet) bool { return rs.DeletionTimestamp != nil })
	slices.SortStableFunc(alive, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revision(a), revision(b)) })
	for _, rs := range alive[:max(0, len(alive)-int(*p.d.Spec.RevisionHistoryLimit))] {
		if rs.Status.Replicas == 0 && size(rs.Spec.Replicas) == 0 && rs.Generation <= rs.Status.ObservedGeneration {
			p.plan.Delete = append(p.plan.Delete, rs)
		}
	}
}

// collect finds out which sets are not what they were.
func (p *planner) collect() {
	if p.create {
		p.plan.Create = p.new
	}
	for _, rs := range p.sets {
		was := p.before[rs.Name]
		if size(was.Spec.Replicas) != size(rs.Spec.Replicas) || was.Spec.MinReadySeconds != rs.Spec.MinReadySeconds || !maps.Equal(was.Annotations, rs.Annotations) {
			p.plan.Update = append(p.plan.Update, rs)
		}
	}
	slices.SortStableFunc(p.plan.Update, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revision(b), revision(a)) })
}

// Changed says whether the deployment itself must be written.
func (p *Plan) Changed(d *appsv1.Deployment) bool {
	return !equality.Semantic.DeepEqual(d.Status, p.Status) || d.Annotations[revisionAnnotation] != p.Revision
}

// Collide is the status after the name of a new set was taken by another.
func Collide(s appsv1.DeploymentStatus) appsv1.DeploymentStatus {
	s = *s.DeepCopy()
	n := int32(1)
	if s.CollisionCount != nil {
		n = *s.CollisionCount + 1
	}
	s.CollisionCount = &n
	return s
}
