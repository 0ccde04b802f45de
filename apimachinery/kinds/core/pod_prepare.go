package core

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
)

var samePodSpec = same.Func[corev1.PodSpec]()

// preparePod resets what a writer of the whole pod may not set, and counts the generation (KEP-5067).
func preparePod(new *corev1.Pod, old apimachinery.Object) {
	if old == nil {
		createPod(new)
		return
	}
	o := old.(*corev1.Pod)
	new.Status, new.Generation = o.Status, o.Generation
	dropGated(&new.Spec, &o.Spec)
	if !samePodSpec(&new.Spec, &o.Spec) {
		new.Generation++
	}
}

func createPod(p *corev1.Pod) {
	p.Generation = 1
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: QOS(&p.Spec)}
	dropGated(&p.Spec, nil)
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates", LastTransitionTime: metav1.Now(),
		}}
	}
	mergeLabelKeys(p)
	profilesFromAnnotations(p)
}

// PrepareTemplate takes out of a pod template the fields of features that are off. old is nil on create.
func PrepareTemplate(new, old *corev1.PodTemplateSpec) {
	if old == nil {
		dropGated(&new.Spec, nil)
		return
	}
	dropGated(&new.Spec, &old.Spec)
}

// dropGated takes out the fields of features that Kubernetes has off by default, unless old has them already.
func dropGated(s, old *corev1.PodSpec) {
	if old == nil {
		old = &corev1.PodSpec{}
	}
	if old.SchedulingGroup == nil {
		s.SchedulingGroup = nil
	}
	evictionResponders.blank(s)
	dropStopSignals(s, old)
	for i := range s.Volumes {
		dropGatedVolume(&s.Volumes[i])
	}
	for c := range containers(s) {
		for i := range c.VolumeMounts {
			bindMountOptions.blank(&c.VolumeMounts[i])
		}
		dropGatedProbes(c)
	}
}

func dropGatedProbes(c *corev1.Container) {
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p == nil {
			continue
		}
		if p.HTTPGet != nil {
			httpProtocol.blank(p.HTTPGet)
		}
		if p.GRPC != nil {
			grpcMode.blank(p.GRPC)
		}
	}
	if c.Lifecycle == nil {
		return
	}
	for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
		if h != nil && h.HTTPGet != nil {
			httpProtocol.blank(h.HTTPGet)
		}
	}
}

// gated is a field of a feature that is off, by its name: fields of alpha features come and go with the API's
// releases.
type gated[T any] struct{ index []int }

func gatedField[T any](name string) gated[T] {
	f, _ := reflect.TypeFor[T]().FieldByName(name)
	return gated[T]{f.Index}
}

// blank empties the field, if there is one.
func (g gated[T]) blank(in *T) {
	if g.index != nil {
		reflect.ValueOf(in).Elem().FieldByIndex(g.index).SetZero()
	}
}

// blank empties a field by its name.
func blank[T any](in *T, name string) { gatedField[T](name).blank(in) }

var (
	evictionResponders = gatedField[corev1.PodSpec]("EvictionResponders")
	bindMountOptions   = gatedField[corev1.VolumeMount]("BindMountOptions")
	emptyDirMode       = gatedField[corev1.EmptyDirVolumeSource]("Mode")
	secretUser         = gatedField[corev1.SecretVolumeSource]("DefaultUser")
	configMapUser      = gatedField[corev1.ConfigMapVolumeSource]("DefaultUser")
	projectedUser      = gatedField[corev1.ProjectedVolumeSource]("DefaultUser")
	itemUser           = gatedField[corev1.KeyToPath]("User")
	fileUser           = gatedField[corev1.DownwardAPIVolumeFile]("User")
	downwardUser       = gatedField[corev1.DownwardAPIVolumeSource]("DefaultUser")
	httpProtocol       = gatedField[corev1.HTTPGetAction]("Protocol")
	grpcMode           = gatedField[corev1.GRPCAction]("Mode")
	tokenUser          = gatedField[corev1.ServiceAccountTokenProjection]("User")
	volumeHealth       = gatedField[corev1.PodStatus]("VolumeHealth")
)

func dropGatedVolume(v *corev1.Volume) {
	if v.EmptyDir != nil {
		emptyDirMode.blank(v.EmptyDir)
	}
	if v.Secret != nil {
		secretUser.blank(v.Secret)
		blankAll(itemUser, v.Secret.Items)
	}
	if v.ConfigMap != nil {
		configMapUser.blank(v.ConfigMap)
		blankAll(itemUser, v.ConfigMap.Items)
	}
	if v.DownwardAPI != nil {
		downwardUser.blank(v.DownwardAPI)
		blankAll(fileUser, v.DownwardAPI.Items)
	}
	if v.Projected == nil {
		return
	}
	projectedUser.blank(v.Projected)
	for i := range v.Projected.Sources {
		s := &v.Projected.Sources[i]
		s.ClusterTrustBundle, s.PodCertificate = nil, nil
		if s.ServiceAccountToken != nil {
			tokenUser.blank(s.ServiceAccountToken)
		}
		if s.Secret != nil {
			blankAll(itemUser, s.Secret.Items)
		}
		if s.ConfigMap != nil {
			blankAll(itemUser, s.ConfigMap.Items)
		}
		if s.DownwardAPI != nil {
			blankAll(fileUser, s.DownwardAPI.Items)
		}
	}
}

func blankAll[T any](g gated[T], list []T) {
	for i := range list {
		g.blank(&list[i])
	}
}

// dropStopSignals is about KEP-4960.
func dropStopSignals(s, old *corev1.PodSpec) {
	for c := range containers(old) {
		if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
			return
		}
	}
	drop := func(c *corev1.Container) {
		if c.Lifecycle == nil || c.Lifecycle.StopSignal == nil {
			return
		}
		if c.Lifecycle.StopSignal = nil; *c.Lifecycle == (corev1.Lifecycle{}) {
			c.Lifecycle = nil
		}
	}
	for c := range containers(s) {
		drop(c)
	}
	for i := range s.EphemeralContainers {
		drop((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon))
	}
}

// mergeLabelKeys makes part of a new pod's label selectors what its own labels say of the keys that are to match, or
// to differ (KEP-3633, KEP-3243).
func mergeLabelKeys(p *corev1.Pod) {
	merge := func(s *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator) {
		for _, key := range keys {
			if value, ok := p.Labels[key]; ok && s != nil {
				s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
			}
		}
	}
	for t := range podTerms(p.Spec.Affinity) {
		merge(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn)
		merge(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn)
	}
	for i := range p.Spec.TopologySpreadConstraints {
		c := &p.Spec.TopologySpreadConstraints[i]
		merge(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn)
	}
}

// podTerms yields every pod affinity and anti-affinity term.
func podTerms(a *corev1.Affinity) func(yield func(*corev1.PodAffinityTerm) bool) {
	return func(yield func(*corev1.PodAffinityTerm) bool) {
		if a == nil {
			return
		}
		var required [2][]corev1.PodAffinityTerm
		var preferred [2][]corev1.WeightedPodAffinityTerm
		if p := a.PodAffinity; p != nil {
			required[0], preferred[0] = p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution
		}
		if p := a.PodAntiAffinity; p != nil {
			required[1], preferred[1] = p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution
		}
		for _, list := range required {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
		for _, list := range preferred {
			for i := range list {
				if !yield(&list[i].PodAffinityTerm) {
					return
				}
			}
		}
	}
}

// profilesFromAnnotations gives a new pod's containers the AppArmor profile that only an annotation asks for (KEP-24).
func profilesFromAnnotations(p *corev1.Pod) {
	if windows(&p.Spec) || !hasPrefix(p.Annotations, appArmorPrefix) {
		return
	}
	for c := range containers(&p.Spec) {
		value, ok := p.Annotations[appArmorPrefix+c.Name]
		if !ok || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			continue
		}
		profile := profileOf(value)
		v := &podValidator{}
		if v.appArmor(profile, nil); profile == nil || len(v.errs) > 0 {
			continue
		}
		if !equality.Semantic.DeepEqual(profile, p.Spec.SecurityContext.AppArmorProfile) {
			if c.SecurityContext == nil {
				c.SecurityContext = &corev1.SecurityContext{}
			}
			c.SecurityContext.AppArmorProfile = profile
		}
	}
}

// hasPrefix says whether some annotation begins so.
func hasPrefix(annotations map[string]string, prefix string) bool {
	for key := range annotations {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// profileOf reads the AppArmor profile of an annotation; nil: it is none.
func profileOf(annotation string) *corev1.AppArmorProfile {
	switch annotation {
	case corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	}
	if name, ok := strings.CutPrefix(annotation, corev1.DeprecatedAppArmorBetaProfileNamePrefix); ok && name != "" {
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	return nil
}
