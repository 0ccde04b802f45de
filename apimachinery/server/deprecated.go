package server

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// What Go types of k8s.io/api tell of their lives.
type (
	deprecated interface{ APILifecycleDeprecated() (major, minor int) }
	removed    interface{ APILifecycleRemoved() (major, minor int) }
	replaced   interface {
		APILifecycleReplacement() schema.GroupVersionKind
	}
)

// The release of Kubernetes whose API this is: what is deprecated later is not deprecated yet.
const apiMajor, apiMinor = 1, 37

// deprecation is the warning that goes with a deprecated kind; "" if its type doesn't say that it is.
func deprecation(o apimachinery.Object, gvk schema.GroupVersionKind) string {
	d, ok := o.(deprecated)
	if !ok {
		return ""
	}
	major, minor := d.APILifecycleDeprecated()
	if major == 0 && minor == 0 || major > apiMajor || major == apiMajor && minor > apiMinor {
		return ""
	}
	text := fmt.Sprintf("%s %s is deprecated in v%d.%d+", gvk.GroupVersion(), gvk.Kind, major, minor)
	if r, ok := o.(removed); ok {
		if major, minor := r.APILifecycleRemoved(); major != 0 || minor != 0 {
			text += fmt.Sprintf(", unavailable in v%d.%d+", major, minor)
		}
	}
	if r, ok := o.(replaced); ok && !r.APILifecycleReplacement().Empty() {
		by := r.APILifecycleReplacement()
		text += fmt.Sprintf("; use %s %s", by.GroupVersion(), by.Kind)
	}
	return text
}
