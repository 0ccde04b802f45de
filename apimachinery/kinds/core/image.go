package core

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// pullPolicy is Always for the tag latest, or none, and IfNotPresent for any other tag, for a digest without a tag,
// and for what is no image's name.
func pullPolicy(image string) corev1.PullPolicy {
	rest, _, digested := strings.Cut(image, "@")
	tag := ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		tag = rest[i+1:]
	}
	latest := tag == "latest" || tag == "" && !digested
	if latest && isImage(image) {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// The forms of an image's name, with registry and path apart, as the distribution specification has them.
var (
	imagePath = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*` +
		`(?::[\w][\w.-]{0,127})?(?:@(?:sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}))?$`)
	registryHost = regexp.MustCompile(`^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])` +
		`(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?$`)
	imageID = regexp.MustCompile(`^[a-f0-9]{64}$`)
)

// maxImageName bounds registry and path together.
const maxImageName = 255

func isImage(image string) bool {
	if imageID.MatchString(image) {
		return false
	}
	host, path := splitImage(image)
	if !registryHost.MatchString(host) || !imagePath.MatchString(path) {
		return false
	}
	name, _, _ := strings.Cut(path, "@")
	name, _, _ = strings.Cut(name, ":")
	return len(host)+1+len(name) <= maxImageName
}

// splitImage tells the registry, which has a dot, a port or capitals or is localhost, from the path.
func splitImage(image string) (host, path string) {
	const hub = "docker.io"
	first, rest, slashed := strings.Cut(image, "/")
	if !slashed || !strings.ContainsAny(first, ".:") && first != "localhost" && strings.ToLower(first) == first {
		first, rest = hub, image
	}
	if first == "index."+hub {
		first = hub
	}
	if first == hub && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	return first, rest
}
