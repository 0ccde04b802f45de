package cel_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate/apimachinery/cel"
)

func TestSelector(t *testing.T) {
	env := cel.New()
	device := cel.Device{
		Driver: "gpu.example.com",
		Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{
			"model":             {StringValue: ptr.To("a100")},
			"cores":             {IntValue: ptr.To(int64(7))},
			"other.com/healthy": {BoolValue: ptr.To(true)},
			"driverVersion":     {VersionValue: ptr.To("1.2.3")},
		},
		Capacity: map[resourcev1.QualifiedName]resourcev1.DeviceCapacity{"memory": {Value: resource.MustParse("40Gi")}},
	}
	for text, want := range map[string]bool{
		`device.driver == 'gpu.example.com'`:                                                         true,
		`device.attributes['gpu.example.com'].model == 'a100'`:                                       true,
		`device.attributes['gpu.example.com'].model.startsWith('h')`:                                 false,
		`device.attributes['gpu.example.com'].cores > 3 && !device.allowMultipleAllocations`:         true,
		`device.attributes['other.com'].healthy`:                                                     true,
		`'nothing' in device.attributes['nowhere.com']`:                                              false,
		`has(device.attributes['nowhere.com'].nothing)`:                                              false,
		`device.attributes['gpu.example.com'].driverVersion.isGreaterThan(semver('1.2.0'))`:          true,
		`device.capacity['gpu.example.com'].memory.compareTo(quantity('32Gi')) >= 0`:                 true,
		`cel.bind(gpu, device.attributes['gpu.example.com'], gpu.cores == 7 && gpu.model == 'a100')`: true,
	} {
		s, err := env.Selector(text)
		require.NoError(t, err, text)
		got, err := s.Matches(t.Context(), device)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	s, err := env.Selector(`device.attributes['gpu.example.com'].nothing == 1`)
	require.NoError(t, err)
	_, err = s.Matches(t.Context(), device)
	require.EqualError(t, err, "no such key: nothing")
	s, err = env.Selector(`device.attributes['gpu.example.com'].model`)
	require.NoError(t, err)
	_, err = s.Matches(t.Context(), device)
	require.ErrorContains(t, err, "could not be converted to bool")
	device.Attributes["bad"] = resourcev1.DeviceAttribute{}
	_, err = s.Matches(t.Context(), device)
	require.EqualError(t, err, "attribute bad: unsupported attribute value")
	_, err = env.Selector(strings.Repeat(" ", 11<<10) + "true")
	require.ErrorContains(t, err, "may not be more than 10240 bytes")
}
