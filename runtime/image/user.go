//go:build linux

package image

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// User is who a process in a container runs as.
type User struct {
	UID, GID uint32
	// Groups are the groups whose member the user is in the image's /etc/group, sorted, without GID: what Kubernetes
	// adds under the policy Merge, and leaves out under Strict.
	Groups []uint32
	// Name and Home are from the image's /etc/passwd; "" and "/" when the user isn't in it.
	Name, Home string
}

// UserSpec is an image's USER before it was looked up.
type UserSpec struct {
	// UID is the user's number; nil when it is a name, or the USER is empty, which means 0.
	UID *uint32
	// Name is the user's name, or "".
	Name string
	// GID and Group are the same for the group; nil and "" when none was given.
	GID   *uint32
	Group string
}

const (
	maxUserID   = 1<<31 - 1
	maxUserFile = 4 << 20 // of /etc/passwd and /etc/group
	maxUserLine = 64 << 10
)

// ParseUser reads "", "uid", "name", "uid:gid", "name:group" and their mixtures. What starts like a number must be one:
// decimal ASCII digits without leading zeros, up to 2147483647. It is never taken for a name, so that a number out
// of range cannot become somebody of the image's choosing. Errors are ErrInvalid.
func ParseUser(s string) (UserSpec, error) {
	user, group, hasGroup := strings.Cut(s, ":")
	var spec UserSpec
	if user == "" && hasGroup || hasGroup && group == "" {
		return spec, fmt.Errorf("%w user %.100q: empty name beside the colon", ErrInvalid, s)
	}
	var err error
	if spec.UID, spec.Name, err = parseID(user); err != nil {
		return UserSpec{}, fmt.Errorf("%w user %.100q: %v", ErrInvalid, s, err)
	}
	if spec.GID, spec.Group, err = parseID(group); err != nil {
		return UserSpec{}, fmt.Errorf("%w user %.100q: %v", ErrInvalid, s, err)
	}
	return spec, nil
}

func parseID(s string) (*uint32, string, error) {
	if s == "" {
		return nil, "", nil
	}
	for _, c := range s {
		if c <= ' ' || c > '~' || c == ':' || c == '/' {
			return nil, "", fmt.Errorf("character %q", c)
		}
	}
	if c := s[0]; c != '-' && c != '+' && (c < '0' || c > '9') {
		if len(s) > 256 {
			return nil, "", errors.New("name longer than 256 bytes")
		}
		return nil, s, nil
	}
	id, err := number(s)
	if err != nil {
		return nil, "", err
	}
	return &id, "", nil
}

// number reads an id in the one form that it may have.
func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > maxUserID || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%.50q is no number from 0 to %d", s, maxUserID)
	}
	return uint32(n), nil
}

// LookupUser finds out who USER is in the root file system at root, from its /etc/passwd and /etc/group, which are
// read without leaving the root. An empty user is 0. A number needs no entry; its group is then 0 unless one is
// given. Errors are ErrInvalid, ErrNotFound for a name without an entry, and ErrTooLarge for files over 4 MiB.
func LookupUser(root, user string) (User, error) {
	u, err := lookupUser(root, user)
	if err != nil {
		return User{}, fmt.Errorf("look up user: %w", err)
	}
	return u, nil
}

func lookupUser(root, user string) (User, error) {
	spec, err := ParseUser(user)
	if err != nil {
		return User{}, err
	}
	u := User{Home: "/"}
	if spec.UID != nil {
		u.UID = *spec.UID
	}
	found, err := u.passwd(root, spec)
	if err != nil {
		return User{}, err
	}
	if !found && spec.Name != "" {
		return User{}, fmt.Errorf("user %q: %w in the image's /etc/passwd", spec.Name, ErrNotFound)
	}
	if spec.GID != nil {
		u.GID = *spec.GID
	}
	found, err = u.group(root, spec)
	if err != nil {
		return User{}, err
	}
	if !found && spec.Group != "" {
		return User{}, fmt.Errorf("group %q: %w in the image's /etc/group", spec.Group, ErrNotFound)
	}
	slices.Sort(u.Groups)
	u.Groups = slices.DeleteFunc(slices.Compact(u.Groups), func(g uint32) bool { return g == u.GID })
	return u, nil
}

// passwd takes the first entry of the user: name:password:uid:gid:gecos:home:shell.
func (u *User) passwd(root string, spec UserSpec) (found bool, err error) {
	err = eachLine(root, "/etc/passwd", func(f []string) error {
		if found || len(f) < 4 {
			return nil
		}
		if spec.Name != "" && f[0] != spec.Name || spec.Name == "" && f[2] != strconv.FormatUint(uint64(u.UID), 10) {
			return nil
		}
		uid, err := number(f[2])
		if err != nil {
			return fmt.Errorf("%w /etc/passwd entry of %q: %v", ErrInvalid, f[0], err)
		}
		gid, err := number(f[3])
		if err != nil {
			return fmt.Errorf("%w /etc/passwd entry of %q: %v", ErrInvalid, f[0], err)
		}
		found, u.UID, u.GID, u.Name = true, uid, gid, f[0]
		if len(f) > 5 && strings.HasPrefix(f[5], "/") {
			u.Home = f[5]
		}
		return nil
	})
	return found, err
}

// group finds the named group, and the groups that list the user: name:password:gid:member,member.
func (u *User) group(root string, spec UserSpec) (found bool, err error) {
	err = eachLine(root, "/etc/group", func(f []string) error {
		if len(f) < 3 {
			return nil
		}
		wanted := !found && spec.Group != "" && f[0] == spec.Group
		member := u.Name != "" && len(f) > 3 && slices.Contains(strings.Split(f[3], ","), u.Name)
		if !wanted && !member {
			return nil
		}
		gid, err := number(f[2])
		if err != nil {
			return fmt.Errorf("%w /etc/group entry of %q: %v", ErrInvalid, f[0], err)
		}
		if wanted {
			found, u.GID = true, gid
		}
		if member {
			u.Groups = append(u.Groups, gid)
		}
		return nil
	})
	return found, err
}

// eachLine calls fn with the fields of each line of a file in root. A file that isn't there has none.
func eachLine(root, name string, fn func(fields []string) error) error {
	raw, err := readInRoot(root, name, maxUserFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	sc := bufio.NewScanner(bytes.NewReader(raw))
	sc.Buffer(nil, maxUserLine)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := fn(strings.Split(line, ":")); err != nil {
			return err
		}
	}
	if sc.Err() != nil {
		return fmt.Errorf("%s: %w: line over %d bytes", name, ErrTooLarge, maxUserLine)
	}
	return nil
}

// readInRoot reads a regular file without leaving root, whatever links lie on the way.
func readInRoot(root, name string, limit int64) ([]byte, error) {
	h, err := pathrs.OpenInRoot(root, name)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	st, err := h.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: not a regular file", name, ErrInvalid)
	}
	f, err := pathrs.Reopen(h, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s: %w: over %d bytes", name, ErrTooLarge, limit)
	}
	return raw, nil
}
