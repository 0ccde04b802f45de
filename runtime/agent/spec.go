package agent

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/image"
)

// run is all that one run of a container is made from.
type run struct {
	pod       *corev1.Pod
	container *corev1.Container
	attempt   int
	calm      int
	image     image.Image
	rootfs    string
	env       map[string]string
	mounts    []specs.Mount
	dir       string // for its log and its termination message
	memory    int64  // of the machine
	node      *Config
}

// spec translates a container into what the runtime runs. It is a pure function but for looking up the image's
// user in the image.
func (r *run) spec() (runtime.ContainerSpec, error) {
	p, c := r.pod, r.container
	user, err := r.user()
	if err != nil {
		return runtime.ContainerSpec{}, err
	}
	args, err := r.args()
	if err != nil {
		return runtime.ContainerSpec{}, err
	}
	labels := podLabels(p)
	labels[labelContainer] = c.Name
	labels[labelAttempt], labels[labelCalm] = strconv.Itoa(r.attempt), strconv.Itoa(r.calm)
	labels[labelImage], labels[labelImageID] = c.Image, r.image.RepoDigest()
	if g := p.Spec.TerminationGracePeriodSeconds; g != nil {
		labels[labelGrace] = strconv.FormatInt(*g, 10)
	}
	s := runtime.ContainerSpec{
		ID: runID(string(p.UID), c.Name, r.attempt), SandboxID: sandboxID(string(p.UID)), Rootfs: r.rootfs,
		Args: args, Env: r.environ(), Cwd: cmp.Or(c.WorkingDir, r.image.Config.WorkingDir, "/"), User: user,
		TTY: c.TTY, Stdin: c.Stdin, StdinOnce: c.StdinOnce, Mounts: r.mounts,
		Resources: resources(c.Resources), OOMScoreAdj: oomScoreAdj(p.Status.QOSClass, c, r.memory),
		Log:    runtime.Log{Path: logPath(r.dir, c.Name, r.attempt)},
		Labels: labels, StopSignal: r.stopSignal(),
	}
	if err := r.secure(&s); err != nil {
		return runtime.ContainerSpec{}, err
	}
	return s, nil
}

// args are the command as Kubernetes combines the image's entrypoint and cmd with the container's command and args.
func (r *run) args() ([]string, error) {
	c, img := r.container, r.image.Config
	command, args := expandAll(c.Command, r.env), expandAll(c.Args, r.env)
	if len(command) == 0 {
		command = img.Entrypoint
		if len(args) == 0 {
			args = img.Cmd
		}
	}
	if all := slices.Concat(command, args); len(all) > 0 {
		return all, nil
	}
	return nil, badConfig("no command specified: neither the container nor the image %s has one", c.Image)
}

// environ is the image's environment, overruled by the container's.
func (r *run) environ() []string {
	env := map[string]string{"HOSTNAME": hostname(r.pod)}
	for _, pair := range r.image.Config.Env {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	maps.Copy(env, r.env)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}

// hostname is the pod's own, or the machine's where it shares that.
func hostname(p *corev1.Pod) string {
	if p.Spec.HostNetwork {
		name, err := os.Hostname()
		if err != nil {
			return ""
		}
		return name
	}
	name := cmp.Or(p.Spec.Hostname, p.Name)
	if p.Spec.HostnameOverride != nil {
		return *p.Spec.HostnameOverride
	}
	if len(name) > 63 {
		name = strings.TrimRight(name[:63], "-.")
	}
	return name
}

// user is who the container runs as: by the container, the pod, or the image.
func (r *run) user() (runtime.User, error) {
	var out runtime.User
	asUser, asGroup, nonRoot := r.identity()
	name := r.image.Config.User
	if asUser != nil {
		name = strconv.FormatInt(*asUser, 10)
	}
	found, err := image.LookupUser(r.rootfs, name)
	if err != nil {
		return out, badConfig("image user %q: %w", name, err)
	}
	out.UID, out.GID = int64(found.UID), int64(found.GID)
	if asGroup != nil {
		out.GID = *asGroup
	}
	if nonRoot {
		if err := r.checkNonRoot(asUser, out.UID); err != nil {
			return out, err
		}
	}
	out.AdditionalGroups = r.groups(found)
	return out, nil
}

// checkNonRoot refuses what may be root. A name in the image proves nothing: the image says what it stands for.
func (r *run) checkNonRoot(asUser *int64, uid int64) error {
	which := fmt.Sprintf(`(pod: "%s", container: %s)`, longName(r.pod), r.container.Name)
	switch {
	case asUser != nil && uid == 0:
		return badConfig("container's runAsUser breaks non-root policy %s", which)
	case uid == 0:
		return badConfig("container has runAsNonRoot and image will run as root %s", which)
	case asUser != nil:
		return nil
	}
	if spec, err := image.ParseUser(r.image.Config.User); err != nil || spec.UID == nil {
		return badConfig("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", spec.Name, which)
	}
	return nil
}

func (r *run) identity() (user, group *int64, nonRoot bool) {
	if s := r.pod.Spec.SecurityContext; s != nil {
		user, group = s.RunAsUser, s.RunAsGroup
		nonRoot = s.RunAsNonRoot != nil && *s.RunAsNonRoot
	}
	if s := r.container.SecurityContext; s != nil {
		if s.RunAsUser != nil {
			user = s.RunAsUser
		}
		if s.RunAsGroup != nil {
			group = s.RunAsGroup
		}
		if s.RunAsNonRoot != nil {
			nonRoot = *s.RunAsNonRoot
		}
	}
	return user, group, nonRoot
}

func (r *run) groups(found image.User) []int64 {
	var out []int64
	s := r.pod.Spec.SecurityContext
	strict := s != nil && s.SupplementalGroupsPolicy != nil && *s.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict
	if !strict {
		for _, g := range found.Groups {
			out = append(out, int64(g))
		}
	}
	if s != nil {
		out = append(out, s.SupplementalGroups...)
		if s.FSGroup != nil {
			out = append(out, *s.FSGroup)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// secure applies what pod and container say about security.
func (r *run) secure(s *runtime.ContainerSpec) error {
	profile := (*corev1.SeccompProfile)(nil)
	if pod := r.pod.Spec.SecurityContext; pod != nil {
		profile = pod.SeccompProfile
	}
	c := r.container.SecurityContext
	if c == nil {
		c = &corev1.SecurityContext{}
	}
	if c.SeccompProfile != nil {
		profile = c.SeccompProfile
	}
	s.Privileged = c.Privileged != nil && *c.Privileged
	s.ReadOnlyRoot = c.ReadOnlyRootFilesystem != nil && *c.ReadOnlyRootFilesystem
	s.NoNewPrivileges = c.AllowPrivilegeEscalation != nil && !*c.AllowPrivilegeEscalation
	if c.Capabilities != nil {
		s.AddCapabilities, s.DropCapabilities = texts(c.Capabilities.Add), texts(c.Capabilities.Drop)
	}
	if c.ProcMount != nil && *c.ProcMount == corev1.UnmaskedProcMount {
		s.MaskedPaths, s.ReadOnlyPaths = []string{}, []string{}
	}
	if profile != nil && !s.Privileged {
		return r.seccomp(profile, s)
	}
	return nil
}

func (r *run) seccomp(p *corev1.SeccompProfile, s *runtime.ContainerSpec) error {
	switch p.Type {
	case corev1.SeccompProfileTypeRuntimeDefault:
		s.Seccomp.Mode = runtime.SeccompDefault
	case corev1.SeccompProfileTypeUnconfined:
		s.Seccomp.Mode = runtime.SeccompUnconfined
	case corev1.SeccompProfileTypeLocalhost:
		if p.LocalhostProfile == nil || !filepath.IsLocal(*p.LocalhostProfile) {
			return badConfig("a localhost seccomp profile must name a file below the node's seccomp folder")
		}
		s.Seccomp = runtime.Seccomp{Mode: runtime.SeccompLocalhost, Path: filepath.Join(r.node.Dir, "seccomp", *p.LocalhostProfile)}
	}
	return nil
}

func texts[S ~string](in []S) []string {
	var out []string
	for _, s := range in {
		out = append(out, string(s))
	}
	return out
}

// stopSignal is the container's, or the image's; 0 if neither says, or what the image says is no signal.
func (r *run) stopSignal() syscall.Signal {
	name := r.image.Config.StopSignal
	if l := r.container.Lifecycle; l != nil && l.StopSignal != nil {
		name = string(*l.StopSignal)
	}
	return signalNamed(name)
}

// signalNamed reads "15", "TERM", "SIGTERM", "SIGRTMIN+3"; 0 is none.
func signalNamed(name string) syscall.Signal {
	const first, last = 34, 64 // of the real-time signals, as C libraries count them
	if n, err := strconv.Atoi(name); err == nil {
		return syscall.Signal(min(max(n, 0), last+1) % (last + 1))
	}
	name = "SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")
	for base, prefix := range map[int]string{first: "SIGRTMIN", last: "SIGRTMAX"} {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		offset, err := strconv.Atoi(cmp.Or(rest, "0"))
		if n := base + offset; err == nil && n >= first && n <= last {
			return syscall.Signal(n)
		}
	}
	return unix.SignalNum(name)
}
