package kinds

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bedplate/bedplate/apimachinery"
)

// mutator makes objects that differ from a valid one in one field: emptied, out of range, misspelt, doubled, or as
// another object of the corpus has it.
type mutator struct {
	rand   *rand.Rand
	donors map[reflect.Type][]reflect.Value
}

func newMutator(seed uint64, corpus ...apimachinery.Object) *mutator {
	m := &mutator{rand.New(rand.NewPCG(seed, seed)), map[reflect.Type][]reflect.Value{}}
	for _, o := range corpus {
		m.collect(reflect.ValueOf(o).Elem())
	}
	return m
}

func opaque(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[resource.Quantity](), reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime](), reflect.TypeFor[intstr.IntOrString](), reflect.TypeFor[runtime.RawExtension]():
		return true
	}
	return false
}

// collect remembers the values of every type as donors for others.
func (m *mutator) collect(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool, reflect.Int32, reflect.Int64, reflect.Uint8:
		return
	}
	if len(m.donors[v.Type()]) < 200 && !v.IsZero() {
		m.donors[v.Type()] = append(m.donors[v.Type()], v)
	}
	if opaque(v.Type()) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			m.collect(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			m.collect(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			m.collect(v.Index(i))
		}
	}
}

// step leads from a value to one of its parts: a field or an item by number, or through a pointer.
type step int

const through step = -1

// site is a place in an object.
type site struct {
	path string
	way  []step
}

func (s site) in(root reflect.Value) reflect.Value {
	for _, at := range s.way {
		switch {
		case at == through:
			root = root.Elem()
		case root.Kind() == reflect.Struct:
			root = root.Field(int(at))
		default:
			root = root.Index(int(at))
		}
	}
	return root
}

// Of the metadata, what kinds have rules for.
var judgedMetadata = map[string]bool{"Labels": true, "Annotations": true, "Finalizers": true}

// sites lists the places under root, which v is.
func sites(v reflect.Value, here site, out *[]site) {
	into := func(part reflect.Value, name string, at step) {
		way := append(append([]step{}, here.way...), at)
		sites(part, site{here.path + name, way}, out)
	}
	if len(here.way) > 0 && v.Type() != reflect.TypeFor[metav1.ObjectMeta]() {
		*out = append(*out, here)
	}
	if opaque(v.Type()) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			into(v.Elem(), "", through)
		}
	case reflect.Struct:
		t := v.Type()
		for i := range v.NumField() {
			name := t.Field(i).Name
			if t == reflect.TypeFor[metav1.ObjectMeta]() && !judgedMetadata[name] || name == "TypeMeta" {
				continue
			}
			into(v.Field(i), "."+name, step(i))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		for i := range v.Len() {
			into(v.Index(i), fmt.Sprintf("[%d]", i), step(i))
		}
	}
}

var words = []string{
	"", "a", "A_b", "-bad-", "a/b", "example.com/x", "example.com/X y", "../x", "a/../b", "..x", "/abs/path", "a b", " x", "x ", "x:latest",
	strings.Repeat("a", 64), strings.Repeat("a", 254), strings.Repeat("a.b", 120), "metadata.labels['x']", "metadata.labels['-']",
	"metadata.annotations['A/B']", "spec.x['y']", "spec.nodeName", "status.podIP", "1.2.3.4", "::1", "127.0.0.01", "::ffff:1.2.3.4", "10.0.0.0/8", "10.1.2.3/8", "true",
	"Always", "Never", "kubernetes.io/x", "requests.cpu", "limits.memory", "requests.hugepages-1Gi", "hugepages-2Mi", "hugepages-x", "cpu", "pods",
	"requests.example.com/x", "é", "{}", "=", "kubernetes", "Exists", "Lt", "Gt", "In", "metadata.name", "5", "-1", "x\\y\\z", "A.B",
	"net.core.x", "kernel.shm_x", "kernel/sem", "fs.mqueue.x", "localhost/x", "iqn.2001", "eui.12", "https://x", "1Gi", "claim:a", "NT AUTHORITY\\SYSTEM", "D:\\x", "...",
	"MountOption", "Recursive", "CAP_SYS_ADMIN", "SIGTERM", "Unmasked", "Bidirectional", "Localhost", "HugePages-1Gi", "Windows", "linux", "Guaranteed",
	"tcp", "SCTP", "ReadWriteOncePod", "PersistentVolumeClaim", "v2", "spec.host", "kubernetes.io/service-account-token", "+5", "007", "[]", `[{"operator":"Exists"}]`,
	`[{"key":"a b"}]`, `{"preferAvoidPods":[{}]}`, `{"preferAvoidPods":[{"podSignature":{"podController":{"controller":false}}}]}`,
}

var numbers = []int64{0, -1, 1, 2, 5, 100, 101, 255, 256, 511, 512, 599, 600, 3599, 3600, 65535, 65536, 1<<31 - 1, 1 << 31, 1<<32 + 1, 1 << 40}

var quantities = []string{"0", "-1", "1", "500m", "1.5", "100", "1Gi", "1k", "1m", "3Mi", "2Mi", "4Mi", "0.0001", "1Ki", "1E", "3", "20Gi"}

// candidates are values to try in place of v.
func (m *mutator) candidates(v reflect.Value) []reflect.Value {
	t := v.Type()
	out := m.special(t)
	if out != nil {
		return append(out, reflect.Zero(t))
	}
	switch t.Kind() {
	case reflect.String:
		for _, w := range words {
			out = append(out, reflect.ValueOf(w).Convert(t))
		}
	case reflect.Int32, reflect.Int64:
		for _, n := range numbers {
			if c := reflect.New(t).Elem(); !c.OverflowInt(n) {
				c.SetInt(n)
				out = append(out, c)
			}
		}
	case reflect.Bool:
		out = append(out, reflect.ValueOf(!v.Bool()).Convert(t))
	case reflect.Pointer:
		out = append(out, reflect.Zero(t), reflect.New(t.Elem()))
		if v.IsNil() {
			for _, c := range m.some(m.candidates(reflect.New(t.Elem()).Elem()), 12) {
				p := reflect.New(t.Elem())
				p.Elem().Set(c)
				out = append(out, p)
			}
		}
	case reflect.Struct:
		out = append(out, reflect.Zero(t))
	case reflect.Slice:
		out = append(out, m.lists(v)...)
	case reflect.Map:
		out = append(out, m.maps(v)...)
	}
	return append(out, m.some(m.donors[t], 8)...)
}

func (m *mutator) some(all []reflect.Value, n int) []reflect.Value {
	if len(all) <= n {
		return all
	}
	out := make([]reflect.Value, n)
	for i := range out {
		out[i] = all[m.rand.IntN(len(all))]
	}
	return out
}

func (m *mutator) special(t reflect.Type) []reflect.Value {
	var out []reflect.Value
	add := func(v any) { out = append(out, reflect.ValueOf(v)) }
	switch t {
	case reflect.TypeFor[resource.Quantity]():
		for _, q := range quantities {
			add(resource.MustParse(q))
		}
	case reflect.TypeFor[metav1.Time]():
		add(metav1.NewTime(time.Unix(1.8e9, 0)))
	case reflect.TypeFor[metav1.MicroTime]():
		add(metav1.NewMicroTime(time.Unix(1.8e9, 5000)))
	case reflect.TypeFor[runtime.RawExtension]():
		for _, raw := range []string{"{}", "null", "[]", `"a"`, `{"a":1}`, "[1]", "5", "true", `{"a":"` + strings.Repeat("a", 10<<10) + `"}`} {
			add(runtime.RawExtension{Raw: []byte(raw)})
		}
	case reflect.TypeFor[intstr.IntOrString]():
		for _, s := range []string{"", "http", "bad_port", "50%", "101%", "0%", "x%", "a--b", "12345", strings.Repeat("a", 16)} {
			add(intstr.FromString(s))
		}
		for _, n := range []int32{0, -1, 1, 65535, 65536} {
			add(intstr.FromInt32(n))
		}
	}
	return out
}

func (m *mutator) lists(v reflect.Value) []reflect.Value {
	t := v.Type()
	out := []reflect.Value{reflect.Zero(t)}
	with := func(items ...reflect.Value) {
		list := reflect.MakeSlice(t, 0, v.Len()+len(items))
		for i := range v.Len() {
			list = reflect.Append(list, v.Index(i))
		}
		out = append(out, reflect.Append(list, items...))
	}
	if v.Len() > 0 {
		with(v.Index(0))
		out = append(out, v.Slice(1, v.Len()))
	}
	with(reflect.Zero(t.Elem()))
	for _, d := range m.some(m.donors[t.Elem()], 10) {
		with(d)
	}
	for _, c := range m.some(m.candidates(reflect.New(t.Elem()).Elem()), 4) {
		with(c)
	}
	if t.Elem().Kind() != reflect.Uint8 {
		many := make([]reflect.Value, 40)
		for i := range many {
			many[i] = reflect.Zero(t.Elem())
		}
		with(many...)
	}
	return out
}

func (m *mutator) maps(v reflect.Value) []reflect.Value {
	t := v.Type()
	out := []reflect.Value{reflect.Zero(t)}
	with := func(key string, value reflect.Value) {
		c := reflect.MakeMap(t)
		for it := v.MapRange(); it.Next(); {
			c.SetMapIndex(it.Key(), it.Value())
		}
		c.SetMapIndex(reflect.ValueOf(key).Convert(t.Key()), value)
		out = append(out, c)
	}
	values := m.candidates(reflect.New(t.Elem()).Elem())
	for _, w := range append(keys, words...) {
		for _, value := range m.some(values, 1) {
			with(w, value)
		}
	}
	for it := v.MapRange(); it.Next(); {
		with(it.Key().String(), reflect.Value{}) // without it
		for _, value := range m.some(values, 8) {
			with(it.Key().String(), value)
		}
	}
	return out
}

// keys are those that mean something somewhere.
var keys = []string{
	"cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "hugepages-1Gi", "storage", "example.com/gpu", "kubernetes.io/x", "x.kubernetes.io/y", "requests.example.com/x",
	"attachable-volumes-x", "kubernetes.io/config.mirror", "controller.kubernetes.io/pod-deletion-cost",
	"scheduler.alpha.kubernetes.io/tolerations", "scheduler.alpha.kubernetes.io/taints", "scheduler.alpha.kubernetes.io/preferAvoidPods",
	"seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/c",
	"container.apparmor.security.beta.kubernetes.io/c", "container.apparmor.security.beta.kubernetes.io/none",
	"kubernetes.io/service-account.name", "kubernetes.io/metadata.name", "username", "tls.crt",
}

// each calls f with mutated copies of o: one in every "of" candidates, at random. f owns what it is given.
func (m *mutator) each(o apimachinery.Object, of int, f func(what string, mutated apimachinery.Object)) {
	var all []site
	sites(reflect.ValueOf(o).Elem(), site{}, &all)
	for _, s := range all {
		for i, c := range m.candidates(s.in(reflect.ValueOf(o).Elem())) {
			if of > 1 && m.rand.IntN(of) > 0 {
				continue
			}
			mutated := o.DeepCopyObject().(apimachinery.Object)
			s.in(reflect.ValueOf(mutated).Elem()).Set(c)
			// Donors are shared: what is done to the mutated must not reach them.
			mutated = mutated.DeepCopyObject().(apimachinery.Object)
			what := fmt.Sprintf("%s: %s, candidate %d (%s)", o.GetName(), s.path, i, brief(c))
			f(what, mutated)
			if m.rand.IntN(twice) == 0 {
				f(m.again(what, mutated))
			}
		}
	}
}

// twice is the one of how many mutants that is mutated once more.
const twice = 4

func (m *mutator) again(what string, o apimachinery.Object) (string, apimachinery.Object) {
	var all []site
	sites(reflect.ValueOf(o).Elem(), site{}, &all)
	s := all[m.rand.IntN(len(all))]
	candidates := m.candidates(s.in(reflect.ValueOf(o).Elem()))
	if len(candidates) == 0 { // nothing can be put there
		return what, o
	}
	c := candidates[m.rand.IntN(len(candidates))]
	o = o.DeepCopyObject().(apimachinery.Object)
	s.in(reflect.ValueOf(o).Elem()).Set(c)
	return fmt.Sprintf("%s; %s (%s)", what, s.path, brief(c)), o.DeepCopyObject().(apimachinery.Object)
}

func brief(v reflect.Value) string {
	raw, err := json.Marshal(v.Interface())
	if err != nil {
		return err.Error()
	}
	return string(raw[:min(len(raw), 160)])
}
