//go:build linux

package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	profiles "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxProfile bounds a seccomp profile in bytes.
const maxProfile = 1 << 20

// checkSeccomp refuses early what could not be started.
func checkSeccomp(s Seccomp) error {
	switch s.Mode {
	case SeccompInherit, SeccompUnconfined:
	case SeccompDefault, SeccompLocalhost:
		if !seccomp.Enabled {
			return fmt.Errorf("%w: seccomp profile %s: this program was built without seccomp: build it with -tags seccomp (libseccomp's headers and pkg-config are needed)", ErrUnsupported, s.Mode)
		}
	default:
		return invalid("Seccomp.Mode %q", s.Mode)
	}
	if s.Mode == SeccompLocalhost {
		return checkAbs("Seccomp.Path", s.Path, false)
	}
	if s.Path != "" {
		return invalid("Seccomp.Path %q without mode %s", s.Path, SeccompLocalhost)
	}
	return nil
}

// loadSeccomp resolves a filter for a container whose capabilities are in o.
func loadSeccomp(s Seccomp, o *specs.Spec) (*specs.LinuxSeccomp, error) {
	switch s.Mode {
	case SeccompDefault:
		p, err := profiles.GetDefaultProfile(o)
		if err != nil {
			return nil, err
		}
		// Half the time of building the filter, at every start and exec, goes into x32, which
		// kernels hardly offer. Without it such calls kill.
		p.Architectures = slices.DeleteFunc(p.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
		return p, nil
	case SeccompLocalhost:
		body, err := readProfile(s.Path)
		if err != nil {
			return nil, fmt.Errorf("seccomp profile %s: %w", s.Path, err)
		}
		return parseProfile(s.Path, body, o)
	}
	return nil, nil
}

func parseProfile(path, body string, o *specs.Spec) (*specs.LinuxSeccomp, error) {
	p, err := profiles.LoadProfile(body, o)
	switch {
	case err != nil:
		return nil, invalid("seccomp profile %s: %w", path, err)
	case p == nil || p.DefaultAction == "":
		return nil, invalid("seccomp profile %s has no default action: it would filter nothing", path)
	case p.DefaultAction == specs.ActAllow && len(p.Syscalls) == 0:
		return nil, invalid("seccomp profile %s allows everything: ask for %s instead", path, SeccompUnconfined)
	case p.ListenerPath != "":
		return nil, fmt.Errorf("%w: seccomp profile %s wants to be notified of system calls", ErrUnsupported, path)
	}
	return p, nil
}

func readProfile(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() || st.Size() > maxProfile {
		return "", invalid("is no file of at most %d bytes", maxProfile)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxProfile+1))
	if err == nil && len(b) > maxProfile {
		err = errors.New("grew while it was read")
	}
	return string(b), err
}
