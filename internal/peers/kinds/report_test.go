package kinds

import (
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

var (
	seed  = flag.Uint64("seed", 1, "of the mutations")
	oneOf = flag.Int("oneof", 16, "try one in so many mutations")
)

type object = apimachinery.Object

func mustMeta(o runtime.Object) metav1.Object {
	m, err := meta.Accessor(o)
	if err != nil {
		panic(err)
	}
	return m
}

// badValue is the bad value of an error where it is a scalar, "composite" where it isn't.
func badValue(e *field.Error) string {
	switch e.Type {
	case field.ErrorTypeRequired, field.ErrorTypeForbidden, field.ErrorTypeTooLong, field.ErrorTypeInternal:
		return "" // is not told
	}
	v := reflect.ValueOf(e.BadValue)
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "null"
		}
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Invalid:
		return "null"
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64:
		return fmt.Sprint(v.Interface())
	}
	return "composite"
}

// report counts differences by kind, with the first example of each.
type report struct {
	compared int
	refused  int // by Kubernetes
	count    map[string]int
	example  map[string]string
}

func newReport() *report { return &report{count: map[string]int{}, example: map[string]string{}} }

func (r *report) add(difference, what string) {
	// The value in an example is enough: differences are counted by place.
	key := named(difference)
	if r.count[key] == 0 {
		r.example[key] = what + " → " + difference
	}
	r.count[key]++
}

// check fails for what is not among the known differences.
func (r *report) check(t *testing.T, kind, what string) {
	t.Logf("%s: %d objects compared, %d of them refused, seed %d", what, r.compared, r.refused, *seed)
	var unknown []string
	for key := range r.count {
		if reason := known(kind, what, key); reason == "" {
			unknown = append(unknown, key)
		}
	}
	slices.SortFunc(unknown, func(a, b string) int { return r.count[b] - r.count[a] })
	var b strings.Builder
	for _, key := range unknown {
		fmt.Fprintf(&b, "%6d × %s\n         e.g. %s\n", r.count[key], key, r.example[key])
	}
	if len(unknown) > 0 {
		t.Errorf("%d differences of %s:\n%s", len(unknown), what, b.String())
	}
}
