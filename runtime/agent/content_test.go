package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery/client"
)

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func TestEnvironment(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.create(&corev1.ConfigMap{ObjectMeta: named("m"), Data: map[string]string{"colour": "red", "size": "big"}})
	n.create(&corev1.Secret{ObjectMeta: named("s"), Data: map[string][]byte{"word": []byte("sesame")}})
	out := n.output("env", "", spec(`
containers:
- name: c
  command: [sh, -c, "env | grep -E '^(T_|colour|P_)' | sort; echo '$(T_PLAIN) $(T_NONE) $$(T_PLAIN)'"]
  resources: {limits: {memory: 64Mi, cpu: 1500m}, requests: {memory: 32Mi}}
  envFrom: [{configMapRef: {name: m}}, {prefix: P_, secretRef: {name: s}}, {configMapRef: {name: none, optional: true}}]
  env:
  - {name: T_PLAIN, value: plain}
  - {name: T_REF, value: "$(T_PLAIN)-$(colour)-$$(colour)-$(T_LATER)"}
  - {name: T_LATER, value: later}
  - {name: T_MAP, valueFrom: {configMapKeyRef: {name: m, key: size}}}
  - {name: T_SECRET, valueFrom: {secretKeyRef: {name: s, key: word}}}
  - {name: T_OPTIONAL, valueFrom: {secretKeyRef: {name: s, key: nothing, optional: true}}}
  - {name: T_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: T_NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
  - {name: T_HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
  - {name: T_LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
  - {name: T_MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
  - {name: T_CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
`), func(p *corev1.Pod) { p.Labels = map[string]string{"app": "shop"} })
	require.Equal(t, []string{
		"P_word=sesame", "T_CPU=2", "T_HOST=127.0.0.1", "T_LABEL=shop", "T_LATER=later", "T_MAP=big", "T_MEMORY=64", "T_NAME=env",
		"T_NODE=" + n.Node, "T_PLAIN=plain", "T_REF=plain-red-$(colour)-$(T_LATER)", "T_SECRET=sesame", "colour=red",
		"plain $(T_NONE) $(T_PLAIN)",
	}, lines(out))

	out = n.output("ip", "", spec(`{hostNetwork: true, containers: [{name: c, command: [sh, -c, "echo $IP"],
		env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]}]}`))
	require.Equal(t, "127.0.0.1\n", out, "the address is there when the container starts")
}

func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }

func TestVolumes(t *testing.T) {
	t.Parallel()
	n := start(t)
	host := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(host, "canary"), []byte("host\n"), 0o644))
	n.create(&corev1.ConfigMap{ObjectMeta: named("m"), Data: map[string]string{"a": "map a", "b": "map b"}})
	n.create(&corev1.Secret{ObjectMeta: named("s"), Data: map[string][]byte{"key": []byte("secret")}})
	out := n.output("web", "", spec(`
securityContext: {fsGroup: 1234}
volumes:
- {name: empty, emptyDir: {}}
- {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: host, hostPath: {path: "`+host+`", type: Directory}}
- {name: map, configMap: {name: m, defaultMode: 0440, items: [{key: a, path: dir/a}]}}
- {name: secret, secret: {secretName: s}}
- {name: pod, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}
initContainers:
- {name: before, command: [sh, -c, "echo from init >/empty/f; mkdir /empty/sub; echo deep >/empty/sub/g"], volumeMounts: [{name: empty, mountPath: /empty}]}
containers:
- name: c
  command: [sh, -c, "cat /empty/f /sub/g /host/canary /map/dir/a; echo; cat /one; echo; cat /secret/key; echo; cat /pod/name; echo; stat -c %a:%g /map/dir/a /secret/..data/key; echo x >/host/new; touch /read/no 2>&1; df /memory | grep -c tmpfs"]
  volumeMounts:
  - {name: empty, mountPath: /empty}
  - {name: empty, mountPath: /sub, subPath: sub}
  - {name: empty, mountPath: /read, readOnly: true}
  - {name: memory, mountPath: /memory}
  - {name: host, mountPath: /host}
  - {name: map, mountPath: /map}
  - {name: map, mountPath: /one, subPath: dir/a}
  - {name: secret, mountPath: /secret}
  - {name: pod, mountPath: /pod}
`))
	require.Equal(t, []string{
		"from init", "deep", "host", "map a", "map a", "secret", "web", "440:1234", "644:1234",
		"touch: /read/no: Read-only file system", "1",
	}, lines(out))
	require.FileExists(t, filepath.Join(host, "new"))
	n.delete("web", client.Grace(1))
	n.idle()
	require.FileExists(t, filepath.Join(host, "canary"), "what a hostPath shows stays")
	n.empty()
}

// TestRefresh: what a running container sees of a configMap follows it.
func TestRefresh(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.create(&corev1.ConfigMap{ObjectMeta: named("m"), Data: map[string]string{"a": "old"}})
	p := n.run("web", "", spec(`{volumes: [{name: m, configMap: {name: m}}], containers: [{name: c, volumeMounts: [{name: m, mountPath: /m}],
		command: [sh, -c, "trap 'exit 0' TERM; echo up; until grep -q new /m/a; do sleep 0.1; done; echo seen"]}]}`))
	n.up(p)
	_, err := client.For[*corev1.ConfigMap](shared.admin).Patch(t.Context(), n.Node, "m", types.MergePatchType, []byte(`{"data":{"a":"new"}}`))
	require.NoError(t, err)
	require.Equal(t, corev1.PodSucceeded, n.until("web", over).Status.Phase)
}

func TestSecurity(t *testing.T) {
	t.Parallel()
	n := start(t)
	out := n.output("user", "", spec(`
securityContext: {runAsUser: 1000, runAsGroup: 3000, supplementalGroups: [4000], runAsNonRoot: true}
containers: [{name: c, command: [sh, -c, "id -u; id -g; id -G; grep -E 'NoNewPrivs|CapEff|Seccomp:' /proc/self/status"],
  securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]`))
	require.Equal(t, []string{"1000", "3000", "3000 4000", "CapEff:", "0000000000000000", "NoNewPrivs:", "1", "Seccomp:", "2"},
		append(lines(out)[:3], strings.Fields(strings.Join(lines(out)[3:], " "))...))

	out = n.output("readonly", "", spec(`{containers: [{name: c, command: [sh, -c, "touch /x 2>&1; cat /etc/hostname; echo ok >/dev/termination-log; ls -d /proc/1"],
		securityContext: {readOnlyRootFilesystem: true}}]}`))
	require.Equal(t, []string{"touch: /x: Read-only file system", "readonly", "/proc/1"}, lines(out))
}

// TestRefusedUsers: what may be root is not run where root is not wanted, whatever an image says (CVE-2026-46680,
// CVE-2024-40635).
func TestRefusedUsers(t *testing.T) {
	t.Parallel()
	n := start(t)
	for name, c := range map[string]struct{ spec, message string }{
		"image-root": {`{securityContext: {runAsNonRoot: true}, containers: [{name: c}]}`, "container has runAsNonRoot and image will run as root"},
		"asked-root": {`{securityContext: {runAsNonRoot: true, runAsUser: 0}, containers: [{name: c}]}`, "container's runAsUser breaks non-root policy"},
		"by-name":    {`{securityContext: {runAsNonRoot: true}, containers: [{name: c, image: "` + shared.withUser(t, "daemon") + `"}]}`, "non-numeric user (daemon)"},
		"too-big":    {`{securityContext: {runAsNonRoot: true}, containers: [{name: c, image: "` + shared.withUser(t, "4294967296") + `"}]}`, "4294967296"},
		"negative":   {`{containers: [{name: c, image: "` + shared.withUser(t, "-1") + `"}]}`, "-1"},
		"zeros":      {`{securityContext: {runAsNonRoot: true}, containers: [{name: c, image: "` + shared.withUser(t, "00") + `"}]}`, "00"},
	} {
		n.run(name, "", spec(c.spec))
		p := n.until(name, waiting("CreateContainerConfigError"))
		require.Contains(t, status(p, "c").State.Waiting.Message, c.message, name)
		require.Equal(t, corev1.PodPending, p.Status.Phase)
	}
	require.Empty(t, n.runtime.Containers())
}

// TestManagedFiles: a container that writes without end into the files that it is given fills nothing but a small
// file system of its pod's own (CVE-2020-8557).
func TestManagedFiles(t *testing.T) {
	t.Parallel()
	n := start(t)
	out := n.output("greedy", "for f in /etc/hosts /etc/hostname /etc/resolv.conf /dev/termination-log; do dd if=/dev/zero of=$f bs=1M count=64 2>&1 | grep -c 'No space'; done; cat /etc/hosts | wc -c | awk '{print ($1 <= 2097152)}'")
	require.Equal(t, []string{"1", "1", "1", "1", "1"}, lines(out))
	require.LessOrEqual(t, len(status(n.until("greedy", over), "c").State.Terminated.Message), 4096)
}
