package aggregate

import (
	"context"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// managed is the label of APIServices that stand for what a server has itself: those of built-in kinds are seen to at
// its start, others whenever they change.
const (
	managed      = "kube-aggregator.kubernetes.io/automanaged"
	onStart      = "onstart"
	continuously = "true"
	ownGroup     = 1000 // the priority of groups that aren't built in
	ownVersion   = 100
)

// priorities are those of built-in groups, as Kubernetes has them.
var priorities = map[string]int32{
	"": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600,
	"autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100,
	"rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700,
	"admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600, "coordination.k8s.io": 16500, "node.k8s.io": 16300,
	"discovery.k8s.io": 16200, "resource.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100,
	"internal.apiserver.k8s.io": 16000, "storagemigration.k8s.io": 15800,
}

func versionPriority(gv schema.GroupVersion) int32 {
	switch {
	case gv.Group == "":
		return 1
	case gv.Group == "autoscaling" && gv.Version == "v2":
		return 30
	case gv.Group == "flowcontrol.apiserver.k8s.io" || gv.Group == "resource.k8s.io" && gv.Version == "v1":
		return 21
	case gv.Version == "v1" || gv.Group == "resource.k8s.io":
		return 15
	}
	return 9
}

// register keeps the local APIServices what the registry has, until ctx ends.
func (a *Aggregator) register(ctx context.Context) {
	first, retry := true, firstRetry
	for ctx.Err() == nil {
		_, changed := a.c.Registry.Version()
		if err := a.registerOnce(ctx, first); err != nil {
			if ctx.Err() == nil {
				a.c.Log.Warn("APIServices not registered", "err", err)
			}
			wait(ctx, changed, retry)
			retry = min(2*retry, checkEvery)
			continue
		}
		first, retry = false, firstRetry
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (a *Aggregator) registerOnce(ctx context.Context, first bool) error {
	want := a.own()
	have, err := a.server.Fresh(ctx, APIServices, storage.Filter{})
	if err != nil {
		return err
	}
	for _, o := range have {
		s := o.(*apiregistrationv1.APIService)
		w := want[s.Name]
		delete(want, s.Name)
		if err := a.revise(ctx, s, w, first); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if err := a.write(ctx, apimachinery.VerbCreate, "", want[name]); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

// revise puts one right that is managed; want is nil if there is no such version.
func (a *Aggregator) revise(ctx context.Context, have, want *apiregistrationv1.APIService, first bool) error {
	how := have.Labels[managed]
	if how != continuously && (how != onStart || !first) {
		return nil
	}
	var err error
	switch {
	case want == nil:
		err = a.write(ctx, apimachinery.VerbDelete, "", have.DeepCopy())
	case have.Spec.Service == nil && have.Spec.GroupPriorityMinimum == want.Spec.GroupPriorityMinimum && have.Spec.VersionPriority == want.Spec.VersionPriority:
		return nil
	default:
		right := have.DeepCopy()
		right.Spec = want.Spec
		err = a.write(ctx, apimachinery.VerbUpdate, "", right)
	}
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // others were faster
	}
	return err
}

// own are the APIServices of what the registry has, by name.
func (a *Aggregator) own() map[string]*apiregistrationv1.APIService {
	all := map[string]*apiregistrationv1.APIService{}
	for _, res := range a.c.Registry.All() {
		for i := range res.Views {
			v := &res.Views[i]
			gv := v.GroupVersion()
			if v.Unserved || v.Group == apiregistrationv1.GroupName {
				continue
			}
			s := &apiregistrationv1.APIService{
				ObjectMeta: metav1.ObjectMeta{Name: gv.Version + "." + gv.Group, Labels: map[string]string{managed: continuously}},
				Spec: apiregistrationv1.APIServiceSpec{
					Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: ownGroup, VersionPriority: ownVersion,
				},
			}
			if p, ok := priorities[gv.Group]; ok {
				s.Labels[managed] = onStart
				s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority = p, versionPriority(gv)
			}
			all[s.Name] = s
		}
	}
	return all
}
