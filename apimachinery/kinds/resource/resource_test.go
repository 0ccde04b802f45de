package resource_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/resource"
)

func claim(change func(*resourcev1.ExactDeviceRequest)) *resourcev1.ResourceClaim {
	e := &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu.example.com"}
	change(e)
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "gpu"},
		Spec:       resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "one", Exactly: e}}}},
	}
}

// A claim for devices of no class is refused.
func Example() {
	claims := resource.ResourceClaims(resource.Config{})
	c := claim(func(e *resourcev1.ExactDeviceRequest) { e.DeviceClassName = "" })
	claims.Default(c)
	for _, err := range claims.Validate(context.Background(), c, nil) {
		fmt.Println(err)
	}
	// Output: spec.devices.requests[0].exactly.deviceClassName: Required value
}

func text(errs field.ErrorList) (out []string) {
	for _, e := range errs {
		out = append(out, e.Field+" "+e.Type.String())
	}
	return out
}

func TestRegistry(t *testing.T) {
	r, err := apimachinery.NewRegistry(resource.Resources(resource.Config{})...)
	require.NoError(t, err)
	for _, res := range r.All() {
		for _, c := range res.Views[0].Columns {
			require.NotNil(t, c.Cell(res.New()))
		}
	}
}

func TestClaim(t *testing.T) {
	config := resource.Config{Expressions: func() func(apimachinery.Expression) error {
		return func(e apimachinery.Expression) error {
			if e.Kind != apimachinery.DeviceSelector || e.Text == "costly" {
				return field.Forbidden(nil, "too complex, exceeds cost limit")
			}
			return nil
		}
	}}
	selector := func(text string) func(*resourcev1.ExactDeviceRequest) {
		return func(e *resourcev1.ExactDeviceRequest) {
			e.Selectors = []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: text}}}
		}
	}
	const at = "spec.devices.requests[0]."
	for name, c := range map[string]struct {
		change func(*resourcev1.ExactDeviceRequest)
		want   []string
	}{
		"good":   {selector("true"), nil},
		"empty":  {selector(""), []string{at + "exactly.selectors[0].cel.expression Invalid value"}},
		"long":   {selector(strings.Repeat("a", 10<<10+1)), []string{at + "exactly.selectors[0].cel.expression Too long"}},
		"costly": {selector("costly"), []string{at + "exactly.selectors[0].cel.expression Forbidden"}},
		"count":  {func(e *resourcev1.ExactDeviceRequest) { e.Count = -1 }, []string{at + "exactly.count Invalid value"}},
		"all":    {func(e *resourcev1.ExactDeviceRequest) { e.AllocationMode, e.Count = "All", 1 }, []string{at + "exactly.count Invalid value"}},
		"admin":  {func(e *resourcev1.ExactDeviceRequest) { e.AdminAccess = ptr.To(true) }, []string{at + "adminAccess Forbidden"}},
		"tolerates": {func(e *resourcev1.ExactDeviceRequest) {
			e.Tolerations = []resourcev1.DeviceToleration{{Operator: "Exists", Value: "x"}}
		}, []string{at + "exactly.tolerations[0].value Invalid value"}},
	} {
		o, r := claim(c.change), resource.ResourceClaims(config)
		r.Default(o)
		require.Equal(t, c.want, text(r.Validate(t.Context(), o, nil)), name)
	}
}

func TestAdminAccess(t *testing.T) {
	o := claim(func(e *resourcev1.ExactDeviceRequest) { e.AdminAccess = ptr.To(true) })
	allow := func(ok bool, err error) resource.Config {
		return resource.Config{AdminAccess: func(_ context.Context, namespace string) (bool, error) { return ok && namespace == "default", err }}
	}
	for _, c := range []struct {
		config resource.Config
		want   []string
	}{
		{allow(true, nil), nil},
		{allow(false, nil), []string{"spec.devices.requests[0].adminAccess Forbidden"}},
		{allow(false, errors.New("down")), []string{"spec.devices.requests[0].adminAccess Internal error"}},
	} {
		r := resource.ResourceClaims(c.config)
		o := o.DeepCopy()
		r.Default(o)
		require.Equal(t, c.want, text(r.Validate(t.Context(), o, nil)))
	}
}

// TestAllocation: an allocation comes, stays as it is and goes; what is told of its devices goes with it.
func TestAllocation(t *testing.T) {
	r := resource.ResourceClaims(resource.Config{})
	status := r.Subs["status"].Strategy
	old := claim(func(*resourcev1.ExactDeviceRequest) {})
	r.Default(old)
	allocated := old.DeepCopy()
	allocated.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{
		Results: []resourcev1.DeviceRequestAllocationResult{{Request: "one", Driver: "gpu.example.com", Pool: "p", Device: "d"}},
	}}
	allocated.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "a", UID: "u"}}
	allocated.Status.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "gpu.example.com", Pool: "p", Device: "d"}}
	require.Empty(t, status.Validate(t.Context(), allocated, old))
	require.Equal(t, "allocated,reserved", r.Views[0].Columns[1].Cell(allocated))

	other := allocated.DeepCopy()
	other.Status.Allocation.Devices.Results[0].Device = "e"
	require.Equal(t, []string{"status.devices[0] Invalid value", "status.allocation Invalid value"}, text(status.Validate(t.Context(), other, allocated)))

	gone := allocated.DeepCopy()
	gone.Status.Allocation, gone.Spec.Devices.Requests = nil, nil
	status.Prepare(t.Context(), gone, allocated)
	require.Empty(t, gone.Status.Devices)
	require.Equal(t, allocated.Spec, gone.Spec)
	require.Equal(t, []string{"status.reservedFor Forbidden"}, text(status.Validate(t.Context(), gone, allocated)))

	deleted := allocated.DeepCopy()
	deleted.DeletionTimestamp = &metav1.Time{}
	deleted.Status.ReservedFor = append(deleted.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: "b", UID: "v"})
	require.Equal(t, []string{"status.reservedFor Forbidden"}, text(status.Validate(t.Context(), deleted, allocated)))

	changed := allocated.DeepCopy()
	changed.Spec.Devices.Requests[0].Name = "two"
	require.Equal(t, []string{"spec Invalid value"}, text(r.Validate(t.Context(), changed, allocated)))
}

func slice(change func(*resourcev1.Device)) *resourcev1.ResourceSlice {
	d := resourcev1.Device{Name: "d"}
	change(&d)
	return &resourcev1.ResourceSlice{Spec: resourcev1.ResourceSliceSpec{
		Driver: "gpu.example.com", NodeName: ptr.To("n1"), Pool: resourcev1.ResourcePool{Name: "n1", ResourceSliceCount: 1}, Devices: []resourcev1.Device{d},
	}}
}

func TestSlice(t *testing.T) {
	quantity := func(s string) *apiresource.Quantity { return ptr.To(apiresource.MustParse(s)) }
	steps := func(step string) func(*resourcev1.Device) {
		return func(d *resourcev1.Device) {
			d.AllowMultipleAllocations = ptr.To(true)
			d.Capacity = map[resourcev1.QualifiedName]resourcev1.DeviceCapacity{"m": {Value: *quantity("10"), RequestPolicy: &resourcev1.CapacityRequestPolicy{
				Default: quantity("4"), ValidRange: &resourcev1.CapacityRequestPolicyRange{Min: quantity("2"), Step: quantity(step)},
			}}}
		}
	}
	const at = "spec.devices[0]"
	for name, c := range map[string]struct {
		change func(*resourcev1.Device)
		want   []string
	}{
		"good":      {func(*resourcev1.Device) {}, nil},
		"step":      {steps("2"), nil},
		"odd step":  {steps("3"), []string{at + ".capacity[m].requestPolicy.validRange.step Invalid value"}},
		"zero step": {steps("0"), []string{at + ".capacity[m].requestPolicy.validRange.step Invalid value"}},
		"attribute": {func(d *resourcev1.Device) {
			d.Attributes = map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{"a": {}, "b-": {VersionValue: ptr.To("1.2")}}
		}, []string{at + ".attributes[a] Invalid value", at + ".attributes Invalid value", at + ".attributes[b-].version Invalid value"}},
		"node":    {func(d *resourcev1.Device) { d.NodeName = ptr.To("n1") }, []string{at + " Invalid value"}},
		"taint":   {func(d *resourcev1.Device) { d.Taints = []resourcev1.DeviceTaint{{Key: "a b"}} }, []string{at + ".taints[0].key Invalid value", at + ".taints[0].effect Required value"}},
		"binding": {func(d *resourcev1.Device) { d.BindingConditions = []string{"a"} }, []string{at + ".bindingFailureConditions Invalid value"}},
		"counter": {func(d *resourcev1.Device) {
			d.ConsumesCounters = []resourcev1.DeviceCounterConsumption{{CounterSet: "A"}}
		}, []string{at + ".consumesCounters[0].counterSet Invalid value", at + ".consumesCounters[0].counters Required value"}},
	} {
		o, r := slice(c.change), resource.ResourceSlices()
		r.Default(o)
		require.Equal(t, c.want, text(r.Validate(t.Context(), o, nil)), name)
	}
}

// TestGatedFields: what features that are off would add is not stored.
func TestGatedFields(t *testing.T) {
	o, r := slice(func(d *resourcev1.Device) {
		d.Attributes = map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{"a": {IntValues: []int64{1}}}
		d.NodeAllocatableResources = map[corev1.ResourceName]resourcev1.NodeAllocatableResource{"cpu": {}}
	}), resource.ResourceSlices()
	o.Spec.SkipNodeOperations = []resourcev1.SkipNodeOperation{"*"}
	r.Prepare(t.Context(), o, nil)
	require.Nil(t, o.Spec.Devices[0].Attributes["a"].IntValues)
	require.Nil(t, o.Spec.Devices[0].NodeAllocatableResources)
	require.Nil(t, o.Spec.SkipNodeOperations)
	require.EqualValues(t, 1, o.Generation)
}

func TestWarnings(t *testing.T) {
	o := slice(func(*resourcev1.Device) {})
	require.Empty(t, resource.ResourceSlices().Warnings(o, nil))
	o.Spec.Driver = "GPU.example.com"
	require.Len(t, resource.ResourceSlices().Warnings(o, nil), 1)
}
