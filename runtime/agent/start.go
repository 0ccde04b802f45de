package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/runtime/internal/crash"
)

// start starts a container beside the loop. Of the runs that have ended, only the last is kept.
func (w *worker) start(pod *corev1.Pod, m *member, now time.Time) {
	s := start{a: w.a, pod: w.addressed(pod, now), container: m.spec, attempt: m.next(), calm: m.calm, mounts: w.setup.mounts[m.spec.Name]}
	if m.renewing() {
		s.calm = s.attempt
	}
	for _, run := range []*runtime.ContainerStatus{m.before, m.unstarted} {
		if run != nil {
			s.obsolete = append(s.obsolete, *run)
		}
	}
	m.busy = true
	ctx := w.starting
	w.beside(func() func() {
		err := s.do(ctx)
		return func() {
			m.busy = false
			w.startedOr(pod, m, err)
		}
	})
}

// startedOr takes in how a start went.
func (w *worker) startedOr(pod *corev1.Pod, m *member, err error) {
	switch {
	case err == nil:
		m.waiting, m.retry, m.trouble = nil, time.Time{}, 0
	case errors.Is(err, context.Canceled):
	default:
		m.fails()
		m.waiting = waitingFor(m.spec, err, m.trouble)
		w.a.c.Log.Warn("container does not start", "pod", podKey(pod), "container", m.spec.Name, "err", err)
		w.a.c.Events(pod, corev1.EventTypeWarning, eventReason(m.waiting.Reason), err.Error())
	}
}

// addressed is the pod with the addresses in its status that it has by now, whether the API knows them yet or not.
func (w *worker) addressed(pod *corev1.Pod, now time.Time) *corev1.Pod {
	out := *pod
	out.Status = statusOf(pod, &view{addrs: w.addrs(pod), hosts: w.a.c.Addresses, now: now})
	return &out
}

// addrs are the addresses of a pod that is set up: the node's own if it is on its network.
func (w *worker) addrs(pod *corev1.Pod) []netip.Addr {
	if pod.Spec.HostNetwork && w.setup.done {
		return w.a.c.Addresses
	}
	return w.setup.addrs
}

// start is one run of a container that is to begin.
type start struct {
	a             *Agent
	pod           *corev1.Pod
	container     *corev1.Container
	attempt, calm int
	mounts        []specs.Mount
	obsolete      []runtime.ContainerStatus // runs to remove before
}

// imageError is a failure to have the image: it waits as ErrImagePull.
type imageError struct{ err error }

func (e *imageError) Error() string { return e.err.Error() }
func (e *imageError) Unwrap() error { return e.err }

func (s *start) do(ctx context.Context) error {
	for i := range s.obsolete {
		if err := s.a.dropRun(ctx, &s.obsolete[i]); err != nil {
			return err
		}
	}
	img, err := s.pull(ctx)
	if err != nil {
		return &imageError{err}
	}
	env, err := s.a.sources.environment(ctx, s.pod, s.container)
	if err != nil {
		return err
	}
	leave, err := s.a.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return s.run(ctx, img, env)
}

// run makes the run and starts it. Of one that can't be made, no root file system stays.
func (s *start) run(ctx context.Context, img image.Image, env map[string]string) error {
	id := runID(string(s.pod.UID), s.container.Name, s.attempt)
	if err := s.create(ctx, id, img, env); err != nil {
		return errors.Join(err, s.a.c.Images.Unmount(id))
	}
	crash.At("agent.created")
	s.event("Created", "Container created")
	err := s.a.c.Runtime.StartContainer(ctx, id)
	crash.At("agent.started")
	var start *runtime.StartError
	if errors.As(err, &start) {
		s.a.c.Events(s.pod, corev1.EventTypeWarning, "Failed", "Error: "+start.Err.Error())
		return nil // the container has exited, and says why
	}
	if err == nil {
		s.event("Started", "Container started")
	}
	return err
}

func (s *start) event(reason, message string) {
	s.a.c.Events(s.pod, corev1.EventTypeNormal, reason, message+": "+s.container.Name)
}

// create makes the root file system and records the container.
func (s *start) create(ctx context.Context, id string, img image.Image, env map[string]string) error {
	dir := s.a.podDir(s.pod.UID)
	if err := os.MkdirAll(filepath.Dir(logPath(dir, s.container.Name, s.attempt)), 0o700); err != nil {
		return err
	}
	mounts, err := s.allMounts(dir)
	if err != nil {
		return err
	}
	root, err := s.a.c.Images.Mount(ctx, id, img, mountOptions(s.container, mounts))
	if err != nil {
		return err
	}
	crash.At("agent.mounted")
	r := run{
		pod: s.pod, container: s.container, attempt: s.attempt, calm: s.calm, image: img, rootfs: root, env: env,
		mounts: mounts, dir: dir, memory: s.a.memory, node: &s.a.c,
	}
	spec, err := r.spec()
	if err != nil {
		return err
	}
	if _, err := s.a.c.Runtime.CreateContainer(ctx, spec); err != nil {
		return &createError{err}
	}
	return nil
}

// mountOptions has the mount points made in the root that the image may not have.
func mountOptions(c *corev1.Container, mounts []specs.Mount) image.MountOptions {
	opt := image.MountOptions{}
	if c := c.SecurityContext; c != nil && c.ReadOnlyRootFilesystem != nil {
		opt.ReadOnly = *c.ReadOnlyRootFilesystem
	}
	for _, m := range mounts {
		if isDir(m.Source) {
			opt.Dirs = append(opt.Dirs, m.Destination)
		} else {
			opt.Files = append(opt.Files, m.Destination)
		}
	}
	return opt
}

// createError is a container that the runtime refuses: it waits as CreateContainerError.
type createError struct{ err error }

func (e *createError) Error() string { return e.err.Error() }
func (e *createError) Unwrap() error { return e.err }

// allMounts are the container's volumes and the files that every container gets, unless a volume takes their place.
func (s *start) allMounts(dir string) ([]specs.Mount, error) {
	mounts := append([]specs.Mount{}, s.mounts...)
	taken := map[string]bool{}
	for _, m := range mounts {
		taken[filepath.Clean(m.Destination)] = true
	}
	message := messagePath(dir, s.container.Name, s.attempt)
	if err := makeMessage(message); err != nil {
		return nil, err
	}
	shared := sharedDir(dir)
	for _, file := range []struct{ from, to string }{
		{filepath.Join(shared, "hosts"), "/etc/hosts"},
		{filepath.Join(shared, "hostname"), "/etc/hostname"},
		{filepath.Join(shared, "resolv.conf"), "/etc/resolv.conf"},
		{message, s.container.TerminationMessagePath},
	} {
		if file.to != "" && !taken[file.to] {
			mounts = append(mounts, specs.Mount{Source: file.from, Destination: file.to, Type: "bind", Options: []string{"bind", "rprivate", "rw"}})
		}
	}
	return mounts, nil
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return path == "" || err == nil && st.IsDir()
}

// waitingFor is what a container that does not start shows.
func waitingFor(c *corev1.Container, err error, failures int) *corev1.ContainerStateWaiting {
	reason, message := "RunContainerError", err.Error()
	var pulling *imageError
	var config *configError
	var create *createError
	switch {
	case errors.Is(err, errNeverPull):
		reason = "ErrImageNeverPull"
	case errors.Is(err, image.ErrInvalidName):
		reason = "InvalidImageName"
	case errors.As(err, &pulling) && failures > 1:
		reason, message = "ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", c.Image, message)
	case errors.As(err, &pulling):
		reason = "ErrImagePull"
	case errors.As(err, &config):
		reason = "CreateContainerConfigError"
	case errors.As(err, &create):
		reason = "CreateContainerError"
	}
	return &corev1.ContainerStateWaiting{Reason: reason, Message: message}
}

// eventReason is what the event of such a failure is called.
func eventReason(waiting string) string {
	if waiting == "ImagePullBackOff" {
		return "BackOff"
	}
	return "Failed"
}
