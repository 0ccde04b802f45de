// Package autoscaling declares the kind of the group autoscaling that is stored: HorizontalPodAutoscaler, in the
// versions v2 and v1, as Kubernetes v1.37 has it. Scale is a subresource of what can be scaled.
package autoscaling

import "github.com/bedplate/bedplate/apimachinery"

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource {
	return []apimachinery.Resource{HorizontalPodAutoscalers()}
}
