package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PodTemplateWarnings are told to whoever writes a pod template: what is deprecated or no longer does anything in it,
// and what is valid but hardly meant. path, which must not be nil, is where the template stands.
func PodTemplateWarnings(t *corev1.PodTemplateSpec, path *field.Path) []string {
	w := warnings{spec: &t.Spec, annotations: t.Annotations, path: path}
	w.all()
	w.appArmor()
	return w.list
}

// podWarnings are told to whoever creates a pod.
func podWarnings(p *corev1.Pod) []string {
	w := warnings{spec: &p.Spec, annotations: p.Annotations}
	if msgs := utilvalidation.IsDNS1123Label(p.Name); len(msgs) > 0 {
		w.add(nil, "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [%s]", strings.Join(msgs, " "))
	}
	w.all()
	return w.list
}

// warnings collects those of one spec. Paths are made when there is something to say, which is seldom.
type warnings struct {
	spec        *corev1.PodSpec
	annotations map[string]string
	path        *field.Path // nil: the pod itself
	list        []string
}

func (w *warnings) add(path *field.Path, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if path != nil {
		text = path.String() + ": " + text
	}
	w.list = append(w.list, text)
}

func (w *warnings) at(names ...string) *field.Path { return w.path.Child("spec", names...) }

func (w *warnings) annotation(key string) *field.Path {
	return w.path.Child("metadata", "annotations").Key(key)
}

func (w *warnings) all() {
	w.labels()
	w.deprecatedAnnotations()
	w.volumes()
	w.list = append(w.list, overlapWarnings(w.spec.Volumes)...)
	w.names()
	w.list = append(w.list, fractionWarnings(w.spec.Overhead, w.at("overhead"), corev1.ResourceMemory, corev1.ResourceEphemeralStorage)...)
	w.containers()
	w.ports()
	if g := w.spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w.add(w.at("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	w.podAffinity()
	if c := w.spec.DNSConfig; c != nil {
		for i, ip := range c.Nameservers {
			w.list = append(w.list, warnOfIP(w.at("dnsConfig", "nameservers").Index(i), ip)...)
		}
	}
	for i, a := range w.spec.HostAliases {
		w.list = append(w.list, warnOfIP(w.at("hostAliases").Index(i).Child("ip"), a.IP)...)
	}
}

// The labels of nodes that nobody should go by any more.
var deprecatedLabels = map[string]string{
	"beta.kubernetes.io/arch":                       `deprecated since v1.14; use "kubernetes.io/arch" instead`,
	"beta.kubernetes.io/os":                         `deprecated since v1.14; use "kubernetes.io/os" instead`,
	corev1.LabelFailureDomainBetaRegion:             `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
	corev1.LabelFailureDomainBetaZone:               `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	corev1.LabelInstanceType:                        `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
	"app.kubernetes.io/created-by":                  `deprecated since v1.9`,
	"scheduler.alpha.kubernetes.io/preferAvoidPods": `deprecated since v1.22; use Taints and Tolerations instead`,
	"node-role.kubernetes.io/master":                `use "node-role.kubernetes.io/control-plane" instead`,
}

func (w *warnings) labels() {
	for _, key := range sortedKeys(w.spec.NodeSelector) {
		if text, ok := deprecatedLabels[key]; ok {
			w.add(w.at("nodeSelector").Key(key), "%s", text)
		}
	}
	if a := w.spec.Affinity; a != nil && a.NodeAffinity != nil {
		n, path := a.NodeAffinity, w.at("affinity", "nodeAffinity")
		for i := range nodeTerms(n) {
			w.list = append(w.list, nodeTermWarnings(&nodeTerms(n)[i], false, path.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms").Index(i))...)
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			t := &n.PreferredDuringSchedulingIgnoredDuringExecution[i].Preference
			w.list = append(w.list, nodeTermWarnings(t, true, path.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("preference"))...)
		}
	}
	for i, c := range w.spec.TopologySpreadConstraints {
		at := w.at("topologySpreadConstraints").Index(i)
		if text, ok := deprecatedLabels[c.TopologyKey]; ok {
			w.add(at.Child("topologyKey"), "%s is %s", c.TopologyKey, text)
		}
		if c.LabelSelector == nil {
			w.add(at.Child("labelSelector"), nullSelector)
		}
	}
}

const nullSelector = "a null labelSelector results in matching no pod"

// nodeTermWarnings are about the labels of a term, and, where validation lets them pass, about their values.
func nodeTermWarnings(t *corev1.NodeSelectorTerm, values bool, path *field.Path) []string {
	var out []string
	for i, r := range t.MatchExpressions {
		at := path.Child("matchExpressions").Index(i)
		if text, ok := deprecatedLabels[r.Key]; ok {
			out = append(out, fmt.Sprintf("%s: %s is %s", at.Child("key"), r.Key, text))
		}
		if !values {
			continue
		}
		for j, value := range r.Values {
			for _, msg := range utilvalidation.IsValidLabelValue(value) {
				out = append(out, fmt.Sprintf("%s: %s is invalid, %s", at.Child("values").Index(j), value, msg))
			}
		}
	}
	return out
}

func (w *warnings) podAffinity() {
	a := w.spec.Affinity
	if a == nil {
		return
	}
	judge := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, name string) {
		for i := range required {
			if required[i].LabelSelector == nil {
				w.add(w.at("affinity", name, "requiredDuringSchedulingIgnoredDuringExecution").Index(i).Child("labelSelector"), nullSelector)
			}
		}
		for i := range preferred {
			if preferred[i].PodAffinityTerm.LabelSelector == nil {
				w.add(w.at("affinity", name, "preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm", "labelSelector"), nullSelector)
			}
		}
	}
	if p := a.PodAffinity; p != nil {
		judge(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, "podAffinity")
	}
	if p := a.PodAntiAffinity; p != nil {
		judge(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, "podAntiAffinity")
	}
}

func (w *warnings) deprecatedAnnotations() {
	if len(w.annotations) == 0 {
		return
	}
	for _, d := range []struct{ key, text string }{
		{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
		{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
		{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	} {
		if _, ok := w.annotations[d.key]; ok {
			w.add(w.annotation(d.key), "%s", d.text)
		}
	}
}

// Since when the drivers of volumes are gone.
const (
	gone16 = "deprecated in v1.11, non-functional in v1.16+"
	gone22 = "deprecated in v1.16, non-functional in v1.22+"
	gone25 = "deprecated in v1.22, non-functional in v1.25+"
	gone26 = "deprecated in v1.25, non-functional in v1.26+"
	gone31 = "deprecated in v1.28, non-functional in v1.31+"
)

func (w *warnings) volumes() {
	for i := range w.spec.Volumes {
		v := &w.spec.Volumes[i]
		for _, d := range []struct {
			set        bool
			name, text string
		}{
			{v.PhotonPersistentDisk != nil, "photonPersistentDisk", gone16},
			{v.GitRepo != nil, "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"},
			{v.ScaleIO != nil, "scaleIO", gone22}, {v.Flocker != nil, "flocker", gone25}, {v.StorageOS != nil, "storageOS", gone25},
			{v.Quobyte != nil, "quobyte", gone25}, {v.Glusterfs != nil, "glusterfs", gone26},
			{v.CephFS != nil, "cephfs", gone31}, {v.RBD != nil, "rbd", gone31},
		} {
			if d.set {
				w.add(w.at("volumes").Index(i).Child(d.name), "%s", d.text)
			}
		}
		if e := v.Ephemeral; e != nil && e.VolumeClaimTemplate != nil {
			w.list = append(w.list, claimSpecWarnings(&e.VolumeClaimTemplate.Spec, w.at("volumes").Index(i).Child("ephemeral", "volumeClaimTemplate", "spec"))...)
		}
	}
}

// names is about what should be there once, and have a name.
func (w *warnings) names() {
	ips, secrets := map[string]bool{}, map[string]bool{}
	for i, a := range w.spec.HostAliases {
		if ips[a.IP] {
			w.add(w.at("hostAliases").Index(i).Child("ip"), "duplicate ip %q", a.IP)
		}
		ips[a.IP] = true
	}
	for i, s := range w.spec.ImagePullSecrets {
		if secrets[s.Name] {
			w.add(w.at("imagePullSecrets").Index(i).Child("name"), "duplicate name %q", s.Name)
		}
		if secrets[s.Name] = true; s.Name == "" {
			w.add(w.at("imagePullSecrets").Index(i).Child("name"), "invalid empty name %q", s.Name)
		}
	}
}

// fractionWarnings are about amounts of bytes that are not whole.
func fractionWarnings(list corev1.ResourceList, path *field.Path, names ...corev1.ResourceName) []string {
	var out []string
	for _, name := range names {
		if q, ok := list[name]; ok && fraction(q) {
			out = append(out, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", path.Key(string(name)), q.String()))
		}
	}
	return out
}

func fraction(q resource.Quantity) bool { return q.MilliValue()%1000 != 0 }

// each calls f with every container, and what makes its path.
func (w *warnings) each(f func(c *corev1.Container, at func() *field.Path)) {
	s := w.spec
	for i := range s.InitContainers {
		f(&s.InitContainers[i], func() *field.Path { return w.at("initContainers").Index(i) })
	}
	for i := range s.Containers {
		f(&s.Containers[i], func() *field.Path { return w.at("containers").Index(i) })
	}
	for i := range s.EphemeralContainers {
		f((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon), func() *field.Path { return w.at("ephemeralContainers").Index(i) })
	}
}

func (w *warnings) containers() {
	const gone = `non-functional in v1.27+; use the "seccompProfile" field instead`
	if key := corev1.SeccompPodAnnotationKey; w.spec.SecurityContext == nil || w.spec.SecurityContext.SeccompProfile == nil {
		if _, ok := w.annotations[key]; ok {
			w.add(w.annotation(key), gone)
		}
	}
	w.each(func(c *corev1.Container, at func() *field.Path) {
		if c.SecurityContext == nil || c.SecurityContext.SeccompProfile == nil {
			if key := corev1.SeccompContainerAnnotationKeyPrefix + c.Name; len(w.annotations) > 0 {
				if _, ok := w.annotations[key]; ok {
					w.add(w.annotation(key), gone)
				}
			}
		}
		for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
			for _, list := range []struct {
				name string
				list corev1.ResourceList
			}{{"limits", c.Resources.Limits}, {"requests", c.Resources.Requests}} {
				if q, ok := list.list[name]; ok && fraction(q) {
					w.list = append(w.list, fractionWarnings(list.list, at().Child("resources", list.name), name)...)
				}
			}
		}
		w.env(c.Env, at)
	})
}

// env is about variables that hide an earlier one of their name, other than by building on it.
func (w *warnings) env(list []corev1.EnvVar, at func() *field.Path) {
	if len(list) < 2 {
		return
	}
	seen := make(map[string]bool, len(list))
	for i, e := range list {
		if ref := "$(" + e.Name + ")"; seen[e.Name] && (e.ValueFrom != nil || e.Value == ref || !strings.Contains(e.Value, ref)) {
			w.add(at().Child("env").Index(i), "hides previous definition of %q, which may be dropped when using apply", e.Name)
		}
		seen[e.Name] = true
	}
}

// appArmor is about annotations of a template that say what no field says.
func (w *warnings) appArmor() {
	if !hasPrefix(w.annotations, appArmorPrefix) {
		return
	}
	var own *corev1.AppArmorProfile
	if w.spec.SecurityContext != nil {
		own = w.spec.SecurityContext.AppArmorProfile
	}
	w.each(func(c *corev1.Container, _ func() *field.Path) {
		value, ok := w.annotations[appArmorPrefix+c.Name]
		if !ok || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			return
		}
		if own == nil || !equality.Semantic.DeepEqual(own, profileOf(value)) {
			w.add(w.annotation(appArmorPrefix+c.Name), `deprecated since v1.30; use the "appArmorProfile" field instead`)
		}
	})
}
