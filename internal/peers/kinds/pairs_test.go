package kinds

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	appsinstall "k8s.io/kubernetes/pkg/apis/apps/install"
	certificatesinstall "k8s.io/kubernetes/pkg/apis/certificates/install"
	coordinationinstall "k8s.io/kubernetes/pkg/apis/coordination/install"
	coreinstall "k8s.io/kubernetes/pkg/apis/core/install"
	discoveryinstall "k8s.io/kubernetes/pkg/apis/discovery/install"
	eventsinstall "k8s.io/kubernetes/pkg/apis/events/install"
	networkinginstall "k8s.io/kubernetes/pkg/apis/networking/install"
	nodeinstall "k8s.io/kubernetes/pkg/apis/node/install"
	rbacinstall "k8s.io/kubernetes/pkg/apis/rbac/install"
	schedulinginstall "k8s.io/kubernetes/pkg/apis/scheduling/install"
	storageinstall "k8s.io/kubernetes/pkg/apis/storage/install"
	"k8s.io/kubernetes/pkg/capabilities"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/internal/peers/corpus"
)

func (p *pair) objects(t *testing.T) []apimachinery.Object {
	all, err := corpus.Load(p.gvk, p.ours.New)
	require.NoError(t, err)
	if p.gvk.Kind == "ReplicaSet" {
		all = append(all, replicaSetsOfPods(t)...)
	}
	return all
}

// replicaSetsOfPods has the corpus' pods as templates, which are held to fewer rules than pods.
func replicaSetsOfPods(t *testing.T) []apimachinery.Object {
	pods, err := corpus.Load(corev1.SchemeGroupVersion.WithKind("Pod"), func() *corev1.Pod { return &corev1.Pod{} })
	require.NoError(t, err)
	var out []apimachinery.Object
	for _, p := range pods {
		r := &appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"of": "pods"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"of": "pods"}, Annotations: p.Annotations}, Spec: p.Spec},
		}}
		r.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
		r.Name, r.Namespace = p.Name, p.Namespace
		r.Spec.Template.Spec.RestartPolicy, r.Spec.Template.Spec.ActiveDeadlineSeconds, r.Spec.Template.Spec.EphemeralContainers = "", nil, nil
		out = append(out, r)
	}
	return out
}

// kubernetes is Kubernetes' scheme, which knows defaults and conversions.
type kubernetes struct{ scheme *runtime.Scheme }

func newKubernetes() kubernetes {
	capabilities.Setup(true, 0) // --allow-privileged
	s := runtime.NewScheme()
	coreinstall.Install(s)
	coordinationinstall.Install(s)
	rbacinstall.Install(s)
	appsinstall.Install(s)
	eventsinstall.Install(s)
	discoveryinstall.Install(s)
	networkinginstall.Install(s)
	storageinstall.Install(s)
	nodeinstall.Install(s)
	schedulinginstall.Install(s)
	certificatesinstall.Install(s)
	return kubernetes{s}
}

// internal returns an object of a versioned type as Kubernetes works on it, without defaults.
func (k kubernetes) internal(o runtime.Object) (runtime.Object, error) {
	return k.scheme.UnsafeConvertToVersion(o.DeepCopyObject(), schema.GroupVersion{Group: o.GetObjectKind().GroupVersionKind().Group, Version: runtime.APIVersionInternal})
}

func (k kubernetes) external(o runtime.Object, gvk schema.GroupVersionKind) (runtime.Object, error) {
	out, err := k.scheme.UnsafeConvertToVersion(o.DeepCopyObject(), gvk.GroupVersion())
	if err == nil {
		out.GetObjectKind().SetGroupVersionKind(gvk)
	}
	return out, err
}

// defaulted fills in an object's defaults as Kubernetes does on decoding, and what its conversions change.
func (k kubernetes) defaulted(o apimachinery.Object, gvk schema.GroupVersionKind) (runtime.Object, error) {
	c := o.DeepCopyObject()
	k.scheme.Default(c)
	in, err := k.internal(c)
	if err != nil {
		return nil, err
	}
	return k.external(in, gvk)
}

// plain is an object as generic JSON, so that nil and empty are told apart only where clients can.
func plain(o any) (map[string]any, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	return out, json.Unmarshal(raw, &out)
}

// maps are the fields whose members' names are data.
var maps = map[string]bool{
	"capacity": true, "allocatable": true, "limits": true, "requests": true, "overhead": true, "labels": true, "annotations": true,
	"matchLabels": true, "nodeSelector": true, "data": true, "binaryData": true, "options": true, "volumeAttributes": true,
}

// differ lists the paths at which two JSON values differ.
func differ(path string, ours, theirs any, out *[]string) {
	switch a := ours.(type) {
	case map[string]any:
		b, ok := theirs.(map[string]any)
		if !ok {
			break
		}
		at := func(k string) string {
			if maps[path[strings.LastIndex(path, ".")+1:]] {
				return path + "[" + k + "]"
			}
			return path + "." + k
		}
		for k := range a {
			if _, both := b[k]; !both {
				*out = append(*out, fmt.Sprintf("%s: only ours has it (%v)", at(k), a[k]))
				continue
			}
			differ(at(k), a[k], b[k], out)
		}
		for k := range b {
			if _, both := a[k]; !both {
				*out = append(*out, fmt.Sprintf("%s: only theirs has it (%v)", at(k), b[k]))
			}
		}
		return
	case []any:
		b, ok := theirs.([]any)
		if !ok || len(a) != len(b) {
			break
		}
		for i := range a {
			differ(fmt.Sprintf("%s[%d]", path, i), a[i], b[i], out)
		}
		return
	}
	if fmt.Sprint(ours) != fmt.Sprint(theirs) {
		*out = append(*out, fmt.Sprintf("%s: ours %v, theirs %v", path, ours, theirs))
	}
}

// unequal says where two objects differ on the wire; nil: nowhere.
func unequal(t testing.TB, ours, theirs any) []string {
	a, err := plain(ours)
	require.NoError(t, err)
	b, err := plain(theirs)
	require.NoError(t, err)
	var out []string
	differ("", a, b, &out)
	slices.Sort(out)
	return out
}

// verdict is a set of errors: path, type and, where it is a scalar, the bad value.
type verdict map[string]bool

func verdictOf(errs field.ErrorList) verdict {
	v := verdict{}
	for _, e := range errs {
		v[e.Field+" | "+e.Type.String()+" | "+badValue(e)] = true
	}
	return v
}

// against returns what v has and w has not.
func (v verdict) against(w verdict) []string {
	var out []string
	for e := range v {
		if !w[e] {
			out = append(out, e)
		}
	}
	slices.Sort(out)
	return out
}

// sent returns an object as it comes from a client.
func sent(o apimachinery.Object) apimachinery.Object { return o.DeepCopyObject().(apimachinery.Object) }

// asker is who sends all requests.
var asker = apimachinery.User{Name: "alice", UID: "u-1", Groups: []string{"a", "b"}, Extra: map[string][]string{"scopes": {"x", "y"}}}

func background() context.Context { return apimachinery.WithUser(context.Background(), asker) }

// named strips the values of a difference, and what tells one item from another, so that differences of one kind are
// counted together.
func named(difference string) string {
	if i := strings.LastIndex(difference, " | "); i >= 0 { // of verdicts: the bad value
		difference = difference[:i]
	} else if i := strings.Index(difference, " ("); i >= 0 {
		difference = difference[:i]
	} else if i := strings.Index(difference, ": ours "); i >= 0 {
		difference = difference[:i] + ": unequal"
	}
	return unindexed(difference)
}

func unindexed(path string) string {
	var b strings.Builder
	depth := 0
	for _, r := range path {
		switch r {
		case '[':
			depth++
			b.WriteString("[]")
		case ']':
			depth--
		default:
			if depth == 0 {
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}
