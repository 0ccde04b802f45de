//go:build linux

package image

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	maxReference = 1024
	hubHost      = "docker.io"
)

// What the distribution specification allows; the parser below lets more through, dots and slashes included.
var (
	repositoryRE = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagRE        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	hostRE       = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)
)

// reference is a parsed image name.
type reference struct {
	host       string // as shown: "docker.io", never "index.docker.io"
	repository string // with its host: "docker.io/library/busybox"
	tag        string // empty when there is a digest
	digest     v1.Hash
	remote     name.Reference
}

// String is the canonical form, by which the store knows an image.
func (r reference) String() string {
	if r.tag != "" {
		return r.repository + ":" + r.tag
	}
	return r.repository + "@" + r.digest.String()
}

// Normalize gives the canonical form of an image's name, as Kubernetes reads it: the registry defaults to docker.io
// and its library, the tag to latest; with a digest, the tag is dropped, as the digest decides. Errors are
// ErrInvalidName.
func Normalize(ref string) (string, error) {
	r, err := parseReference(ref)
	if err != nil {
		return "", err
	}
	return r.String(), nil
}

// parseReference splits an image's name. insecure makes its registry one for plain HTTP.
func parseReference(s string, opts ...name.Option) (reference, error) {
	bad := func(why any) (reference, error) {
		return reference{}, fmt.Errorf("%w %.300q: %v", ErrInvalidName, s, why)
	}
	if len(s) > maxReference {
		return bad(fmt.Sprintf("longer than %d bytes", maxReference))
	}
	if _, err := v1.NewHash(s); err == nil {
		return bad("a digest alone says no repository")
	}
	if host, rest, ok := strings.Cut(s, "/"); ok && (host == "index.docker.io" || host == "registry-1.docker.io") {
		s = hubHost + "/" + rest
	}
	ref, err := name.ParseReference(s, opts...)
	if err != nil {
		return bad(err)
	}
	r := reference{host: ref.Context().RegistryStr(), remote: ref}
	if r.host == name.DefaultRegistry {
		r.host = hubHost
	}
	path := ref.Context().RepositoryStr()
	if !hostRE.MatchString(r.host) {
		return bad("malformed registry host")
	}
	if !repositoryRE.MatchString(path) {
		return bad("a repository is lower-case letters, digits and single separators")
	}
	r.repository = r.host + "/" + path
	if d, ok := ref.(name.Digest); ok {
		if r.digest, err = v1.NewHash(d.DigestStr()); err != nil {
			return bad(err)
		}
		return r, checkDroppedTag(s, bad)
	}
	if r.tag = ref.Identifier(); !tagRE.MatchString(r.tag) {
		return bad("malformed tag")
	}
	return r, nil
}

// checkDroppedTag refuses a malformed tag before a digest, which the parser drops unseen.
func checkDroppedTag(s string, bad func(any) (reference, error)) error {
	before, _, _ := strings.Cut(s, "@")
	last := before[strings.LastIndexByte(before, '/')+1:]
	if _, tag, ok := strings.Cut(last, ":"); ok && !tagRE.MatchString(tag) {
		_, err := bad("malformed tag")
		return err
	}
	return nil
}
