package agent

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/image"
)

func TestExpand(t *testing.T) {
	env := map[string]string{"A": "1", "B": "$(A)"}
	for in, want := range map[string]string{
		"$(A)": "1", "$$(A)": "$(A)", "$$$(A)": "$1", "$(NO)": "$(NO)", "$(B)": "$(A)", "$": "$", "a$": "a$", "$(A": "$(A", "$A": "$A",
		"x$(A)y$(A)": "x1y1", "$()": "$()", "$$": "$", "$$$$": "$$",
	} {
		require.Equal(t, want, expand(in, env), in)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[$()AB]{0,12}`).Draw(t, "text")
		_ = expand(s, env) // no text makes it stumble
	})
}

func TestSignals(t *testing.T) {
	for name, want := range map[string]syscall.Signal{
		"": 0, "TERM": syscall.SIGTERM, "SIGQUIT": syscall.SIGQUIT, "sigint": syscall.SIGINT, "9": syscall.SIGKILL, "64": 64, "65": 0, "-1": 0,
		"SIGRTMIN+3": 37, "RTMAX-1": 63, "SIGRTMIN": 34, "SIGRTMIN+31": 0, "NONSENSE": 0,
	} {
		require.Equal(t, want, signalNamed(name), name)
	}
}

func TestArgs(t *testing.T) {
	img := image.Image{Config: image.ContainerConfig{Entrypoint: []string{"e"}, Cmd: []string{"c"}}}
	for _, c := range []struct{ command, args, want []string }{
		{nil, nil, []string{"e", "c"}}, {nil, []string{"a"}, []string{"e", "a"}}, {[]string{"x"}, nil, []string{"x"}}, {[]string{"x"}, []string{"a"}, []string{"x", "a"}},
	} {
		got, err := (&run{container: &corev1.Container{Command: c.command, Args: c.args}, image: img}).args()
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	_, err := (&run{container: &corev1.Container{Image: "i"}}).args()
	require.ErrorContains(t, err, "no command specified")
}

func TestResources(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	require.Equal(t, runtime.Resources{Memory: 1 << 30, CPUShares: 512, CPUQuota: 150_000, CPUPeriod: 100_000},
		resources(corev1.ResourceRequirements{Requests: list("500m", "1Mi"), Limits: list("1500m", "1Gi")}))
	require.Equal(t, runtime.Resources{CPUShares: 2}, resources(corev1.ResourceRequirements{}))
	require.EqualValues(t, 1000, resources(corev1.ResourceRequirements{Limits: list("1m", "0")}).CPUQuota)

	limited := corev1.Container{Resources: corev1.ResourceRequirements{Limits: list("1", "1Gi"), Requests: list("1", "1Gi")}}
	pod := corev1.PodSpec{Containers: []corev1.Container{limited, limited}}
	require.Equal(t, runtime.Resources{Memory: 2 << 30, CPUShares: 2048, CPUQuota: 200_000, CPUPeriod: 100_000}, podResources(&pod))
	pod.Containers = append(pod.Containers, corev1.Container{})
	require.Equal(t, runtime.Resources{CPUShares: 2048}, podResources(&pod), "one without a limit is one for the pod")

	require.Equal(t, -997, oomScoreAdj(corev1.PodQOSGuaranteed, &limited, 4<<30))
	require.Equal(t, 1000, oomScoreAdj(corev1.PodQOSBestEffort, &limited, 4<<30))
	require.Equal(t, 750, oomScoreAdj(corev1.PodQOSBurstable, &limited, 4<<30))
}

func TestRegistryAuths(t *testing.T) {
	secret := map[string]string{corev1.DockerConfigJsonKey: `{"auths": {
		"https://index.docker.io/v1/": {"username": "hub", "password": "p"}, "registry.example:5000": {"auth": "dTpwOnc="},
		"registry.example:5000/team": {"username": "team"}, "http://registry.example": {"username": "other"}}}`}
	users := func(name string) (out []string) {
		for _, a := range registryAuths(secret, name) {
			out = append(out, a.Username+":"+a.Password)
		}
		return out
	}
	require.Equal(t, []string{"hub:p"}, users("docker.io/library/busybox:latest"))
	require.Equal(t, []string{"u:p:w"}, users("registry.example:5000/web:v1"))
	require.ElementsMatch(t, []string{"u:p:w", "team:"}, users("registry.example:5000/team/web:v1"))
	require.Empty(t, users("docker.io.evil.example/a:v1"))
	require.Equal(t, []string{"u:"}, func() (out []string) {
		for _, a := range registryAuths(map[string]string{corev1.DockerConfigKey: `{"r.example": {"username": "u"}}`}, "r.example/a:b") {
			out = append(out, a.Username+":"+a.Password)
		}
		return out
	}())
	require.Empty(t, registryAuths(map[string]string{corev1.DockerConfigJsonKey: `{`}, "a"))
}
