//go:build linux

package image

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Image describes an image of a store. It is plain data: a copy, valid after the image is gone.
type Image struct {
	// Ref is the name that was asked for in canonical form ("docker.io/library/busybox:1.36"); in
	// List the first of Tags, or of Digests.
	Ref string
	// ID is the digest of the configuration, which CRI calls the image's id.
	ID string
	// Digest is what the name stood for when it was pulled: the digest of an index or of the manifest.
	Digest string
	// Manifest is the digest of this platform's manifest: what the store keeps images by.
	Manifest string
	// Tags and Digests are all names that lead here: "repository:tag" and "repository@digest", sorted.
	Tags, Digests []string
	// Config is how to run it.
	Config ContainerConfig
	// Size is the bytes of all files in its layers, unpacked; shared layers count in each image.
	Size int64
	// Layers are the digests of the uncompressed layers, lowest first.
	Layers []string
	// Platform is what the image was built for.
	Platform Platform
	// Pulled is when it came into the store.
	Pulled time.Time
}

// RepoDigest is "repository@digest" for the name in Ref: what a pod's status shows as the image's id. Of an image
// without a name it is the digest alone.
func (i Image) RepoDigest() string {
	if i.Ref == "" {
		return i.Digest
	}
	repo, _, ok := strings.Cut(i.Ref, "@")
	if !ok {
		repo = i.Ref[:max(strings.LastIndexByte(i.Ref, ':'), 0)]
	}
	return repo + "@" + i.Digest
}

// ContainerConfig is the part of an image's configuration that running it depends on. Labels are left out on
// purpose: nothing may be configured by them.
type ContainerConfig struct {
	// User is "", "uid", "uid:gid", "name" or "name:group": see LookupUser.
	User string `json:"user,omitempty"`
	// Env is "NAME=value", in the image's order.
	Env        []string `json:"env,omitempty"`
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	// WorkingDir is absolute and clean, or "" for "/". It may not exist, or be a symbolic link.
	WorkingDir string `json:"workingDir,omitempty"`
	// Volumes are absolute, clean paths, sorted.
	Volumes []string `json:"volumes,omitempty"`
	// StopSignal is a name or number ("SIGQUIT"), as the image has it.
	StopSignal string `json:"stopSignal,omitempty"`
	// ExposedPorts are "80/tcp" and alike, sorted; documentation only.
	ExposedPorts []string `json:"exposedPorts,omitempty"`
}

// parseConfig reads an image's configuration blob and checks what others will rely on.
func parseConfig(raw []byte) (*v1.ConfigFile, ContainerConfig, error) {
	bad := func(why any) (*v1.ConfigFile, ContainerConfig, error) {
		return nil, ContainerConfig{}, fmt.Errorf("%w image configuration: %v", ErrInvalid, why)
	}
	if err := unambiguous(raw, "architecture", "os", "variant", "config", "rootfs", "history"); err != nil {
		return bad(err)
	}
	var f v1.ConfigFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return bad(err)
	}
	if f.RootFS.Type != "" && f.RootFS.Type != "layers" {
		return bad(fmt.Sprintf("root file system of type %.50q", f.RootFS.Type))
	}
	for _, d := range f.RootFS.DiffIDs {
		if d == (v1.Hash{}) {
			return bad("empty diff id")
		}
	}
	c := f.Config
	out := ContainerConfig{
		User: c.User, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd,
		WorkingDir: absolute(c.WorkingDir), StopSignal: c.StopSignal,
		ExposedPorts: slices.Sorted(maps.Keys(c.ExposedPorts)),
	}
	for v := range c.Volumes {
		out.Volumes = append(out.Volumes, absolute(v))
	}
	slices.Sort(out.Volumes)
	out.Volumes = slices.DeleteFunc(slices.Compact(out.Volumes), func(v string) bool { return v == "" })
	for _, s := range slices.Concat(out.Env, out.Entrypoint, out.Cmd, out.Volumes, []string{out.User, out.WorkingDir, out.StopSignal}) {
		if strings.ContainsRune(s, 0) {
			return bad("NUL byte")
		}
	}
	return &f, out, nil
}

// absolute makes a path of an image clean and relative to the image's root, whatever ".." it holds.
func absolute(p string) string {
	if p == "" {
		return ""
	}
	return path.Clean("/" + p)
}
