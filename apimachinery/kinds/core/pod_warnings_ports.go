package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ports is about ports that are declared twice, or might be.
func (w *warnings) ports() {
	type declared struct {
		port *corev1.ContainerPort
		at   func() *field.Path
	}
	type number struct {
		port     int32
		protocol corev1.Protocol
	}
	ports, names := map[number][]declared{}, map[string]func() *field.Path{}
	var later []string // names come behind
	w.each(func(c *corev1.Container, container func() *field.Path) {
		for i := range c.Ports {
			p, at := &c.Ports[i], func() *field.Path { return container().Child("ports").Index(i) }
			if p.HostIP != "" && p.HostPort == 0 {
				w.add(at(), "hostIP set without hostPort: %+v", *p)
			}
			key := number{p.ContainerPort, p.Protocol}
			for _, other := range ports[key] {
				if how := clash(p, other.port); how != "" {
					w.add(at(), "%s port definition with %s", how, other.at())
				}
			}
			ports[key] = append(ports[key], declared{p, at})
			if p.Name == "" {
				continue
			}
			if other, ok := names[p.Name]; ok {
				later = append(later, fmt.Sprintf("%s: duplicate port name %q with %s, services and probes that select ports by name will use %s", at(), p.Name, other(), other()))
			} else {
				names[p.Name] = at
			}
		}
	})
	w.list = append(w.list, later...)
}

// clash says how two declarations of a port get into each other's way; "": they don't.
func clash(a, b *corev1.ContainerPort) string {
	switch {
	case a.HostIP == b.HostIP && a.HostPort == b.HostPort:
		return "duplicate"
	case a.HostPort == 0 || b.HostPort == 0:
		return "overlapping"
	case a.HostPort == b.HostPort && (a.HostIP == "") != (b.HostIP == ""):
		return "dangerously ambiguous"
	}
	return ""
}

// virtual is a file that a volume shows.
type virtual struct{ path, source string }

func (f virtual) String() string {
	if f.source == "" {
		return fmt.Sprintf("%q", f.path)
	}
	return fmt.Sprintf("%q (%s)", f.path, f.source)
}

// overlapWarnings are about files of a volume that lie on or below each other.
func overlapWarnings(volumes []corev1.Volume) []string {
	var out []string
	for i := range volumes {
		v := &volumes[i]
		warn := func(what string, files []virtual) {
			for _, clash := range overlaps(files) {
				out = append(out, fmt.Sprintf("volume %q (%s): overlapping paths: %s", v.Name, what, clash))
			}
		}
		if c := v.ConfigMap; c != nil {
			warn(fmt.Sprintf("ConfigMap %q", c.Name), keyFiles(c.Items, ""))
		}
		if s := v.Secret; s != nil {
			warn(fmt.Sprintf("Secret %q", s.SecretName), keyFiles(s.Items, ""))
		}
		if d := v.DownwardAPI; d != nil {
			warn("DownwardAPI", downwardFiles(d.Items, ""))
		}
		if v.Projected == nil {
			continue
		}
		var files []virtual
		for _, s := range v.Projected.Sources {
			if s == (corev1.VolumeProjection{}) {
				out = append(out, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
			}
			files = append(files, projectedFiles(&s)...)
		}
		warn("Projected", files)
	}
	return out
}

func keyFiles(items []corev1.KeyToPath, source string) []virtual {
	out := make([]virtual, 0, len(items))
	for _, i := range items {
		out = append(out, virtual{i.Path, source})
	}
	return out
}

func downwardFiles(items []corev1.DownwardAPIVolumeFile, source string) []virtual {
	out := make([]virtual, 0, len(items))
	for _, i := range items {
		out = append(out, virtual{i.Path, source})
	}
	return out
}

func projectedFiles(s *corev1.VolumeProjection) []virtual {
	switch {
	case s.ConfigMap != nil && s.ConfigMap.Items != nil:
		return keyFiles(s.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", s.ConfigMap.Name))
	case s.Secret != nil && s.Secret.Items != nil:
		return keyFiles(s.Secret.Items, fmt.Sprintf("Secret %q", s.Secret.Name))
	case s.DownwardAPI != nil && s.DownwardAPI.Items != nil:
		return downwardFiles(s.DownwardAPI.Items, "DownwardAPI")
	case s.ServiceAccountToken != nil:
		return []virtual{{s.ServiceAccountToken.Path, "ServiceAccountToken"}}
	}
	return nil
}

// overlaps names the pairs of files that can't both be there.
func overlaps(files []virtual) []string {
	var out []string
	for i := range files {
		f := virtual{strings.TrimRight(files[i].path, "/"), files[i].source}
		files[i] = f
		for _, before := range files[:i] {
			if f.path == "" || before.path == "" {
				continue
			}
			if strings.HasPrefix(before.path+"/", f.path+"/") || strings.HasPrefix(f.path+"/", before.path+"/") {
				out = append(out, fmt.Sprintf("%s with %s", f, before))
			}
		}
	}
	return out
}
