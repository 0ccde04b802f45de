package forms

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// judges are ours beside Kubernetes' own.
var judges = map[string]struct{ ours, theirs func(string) []string }{
	"label":          {Label, validation.IsDNS1123Label},
	"subdomain":      {Subdomain, validation.IsDNS1123Subdomain},
	"qualified name": {QualifiedName, validation.IsQualifiedName},
	"label value":    {LabelValue, validation.IsValidLabelValue},
	"config map key": {ConfigMapKey, validation.IsConfigMapKey},
	"port name":      {PortName, validation.IsValidPortName},
	"variable":       {EnvName, validation.IsRelaxedEnvVarName},
}

// quick are the answers that a walk over the bytes gives alone: yes and no are both right.
var quick = map[string]struct {
	ours   func(string) bool
	theirs func(string) []string
}{
	"label":          {IsLabel, validation.IsDNS1123Label},
	"subdomain":      {IsSubdomain, validation.IsDNS1123Subdomain},
	"qualified name": {IsQualifiedName, validation.IsQualifiedName},
	"label value":    {IsLabelValue, validation.IsValidLabelValue},
}

func compare(t *testing.T, s string) {
	for name, j := range judges {
		if ours, theirs := j.ours(s), j.theirs(s); !slices.Equal(ours, theirs) {
			t.Fatalf("%s %q: %q, not %q", name, s, ours, theirs)
		}
	}
	for name, j := range quick {
		if sound := len(j.theirs(s)) == 0; j.ours(s) != sound {
			t.Fatalf("%s %q: not %v", name, s, sound)
		}
	}
}

// alphabet has what the forms tell apart.
const alphabet = "az09AZ-_./~ =\x7f\n\x00\xffé@`{[:"

// TestAllShort compares all strings of up to three symbols.
func TestAllShort(t *testing.T) {
	symbols := strings.Split(alphabet, "")
	var grow func(s string, left int)
	grow = func(s string, left int) {
		compare(t, s)
		if left == 0 {
			return
		}
		for _, c := range symbols {
			grow(s+c, left-1)
		}
	}
	grow("", 3)
}

// TestLengths compares names about as long as they may be.
func TestLengths(t *testing.T) {
	for _, n := range []int{14, 15, 16, 62, 63, 64, 252, 253, 254, 400} {
		for _, of := range []string{"a", "a.", "0", "a-", "A_", "a--", "."} {
			s := strings.Repeat(of, n)[:n]
			for _, s := range []string{s, s + "/a", "a/" + s, s + "/" + s, s[:n-1] + "a"} {
				compare(t, s)
			}
		}
	}
}

func FuzzForms(f *testing.F) {
	for _, s := range []string{"", "a", "kubernetes.io/hostname", "a/b/c", "/a", "a/", "..", "..a", "a--b", "http-80", strings.Repeat("a.", 126) + "a"} {
		f.Add(s)
	}
	f.Fuzz(compare)
}

func BenchmarkQualifiedName(b *testing.B) {
	for b.Loop() {
		if len(QualifiedName("app.kubernetes.io/managed-by")) > 0 {
			b.Fatal("refused")
		}
	}
}
