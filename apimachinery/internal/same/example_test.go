package same_test

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/bedplate/bedplate/apimachinery/internal/same"
)

func ExampleFunc() {
	equal := same.Func[corev1.ResourceRequirements]()
	cpu := func(text string) *corev1.ResourceRequirements {
		return &corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse(text)}}
	}
	fmt.Println(equal(cpu("1"), cpu("1000m")), equal(cpu("1"), cpu("2")))
	// Output: true false
}
