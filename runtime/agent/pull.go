package agent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/runtime/image"
)

// pull has the image here, as the container's policy wants it.
func (s *start) pull(ctx context.Context) (image.Image, error) {
	name := s.container.Image
	full, err := image.Normalize(name)
	if err != nil {
		return image.Image{}, err
	}
	img, present := s.a.c.Images.Present(name)
	switch policy := s.container.ImagePullPolicy; {
	case policy == corev1.PullNever && !present:
		return img, fmt.Errorf("container image %q is not present with pull policy of Never: %w", name, errNeverPull)
	case present && policy != corev1.PullAlways:
		return img, nil
	}
	s.a.c.Events(s.pod, corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", name))
	auths, err := s.credentials(ctx, full)
	if err != nil {
		return img, err
	}
	var errs []error
	for _, auth := range auths {
		if img, err = s.a.c.Images.Pull(ctx, name, image.PullOptions{Auth: auth}); err == nil {
			s.a.c.Events(s.pod, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q", name))
			return img, nil
		}
		errs = append(errs, err)
	}
	return img, errors.Join(errs...)
}

var errNeverPull = errors.New("image never pulled")

// credentials are those of the pod's imagePullSecrets that fit the image, the most specific first, and none at all.
func (s *start) credentials(ctx context.Context, name string) ([]image.Credentials, error) {
	var found []registryAuth
	for _, ref := range s.pod.Spec.ImagePullSecrets {
		optional := true
		values, err := s.a.sources.secret(ctx, s.pod.Namespace, ref.Name, &optional)
		if err != nil {
			return nil, err
		}
		found = append(found, registryAuths(values, name)...)
	}
	slices.SortStableFunc(found, func(a, b registryAuth) int { return len(b.prefix) - len(a.prefix) })
	var out []image.Credentials
	for _, f := range found {
		out = append(out, f.Credentials)
	}
	return append(out, image.Credentials{}), nil
}

// registryAuth is an entry of a pull secret: for the images whose names begin with prefix.
type registryAuth struct {
	prefix string
	image.Credentials
}

// registryAuths reads the entries for an image from a secret of type dockerconfigjson, or of the older dockercfg.
// What can't be read is left out: validation keeps such secrets out of the API.
func registryAuths(secret map[string]string, name string) []registryAuth {
	type entry struct{ Username, Password, Auth, IdentityToken, RegistryToken string }
	var config struct{ Auths map[string]entry }
	if text, ok := secret[corev1.DockerConfigJsonKey]; ok {
		_ = json.Unmarshal([]byte(text), &config)
	} else if text, ok := secret[corev1.DockerConfigKey]; ok {
		_ = json.Unmarshal([]byte(text), &config.Auths)
	}
	var out []registryAuth
	for registry, e := range config.Auths {
		prefix := registryPrefix(registry)
		if name != prefix && !strings.HasPrefix(name, prefix+"/") {
			continue
		}
		if pair, err := base64.StdEncoding.DecodeString(e.Auth); err == nil && e.Username == "" {
			e.Username, e.Password, _ = strings.Cut(string(pair), ":")
		}
		out = append(out, registryAuth{prefix, image.Credentials{
			Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken,
		}})
	}
	return out
}

// registryPrefix is a registry's part of an image's full name: "https://index.docker.io/v1/" is "docker.io".
func registryPrefix(registry string) string {
	_, rest, ok := strings.Cut(registry, "://")
	if !ok {
		rest = registry
	}
	rest = strings.TrimSuffix(rest, "/")
	if host, path, _ := strings.Cut(rest, "/"); path == "v1" || path == "v2" {
		rest = host
	}
	if rest == "index.docker.io" {
		return "docker.io"
	}
	return rest
}
