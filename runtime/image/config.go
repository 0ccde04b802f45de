//go:build linux

package image

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Config says where a Store lives and what it may do. Only Dir has no default.
type Config struct {
	// Dir is the store's folder, absolute. It is made when missing, with mode 0700: images hold
	// set-user-id programs that the machine's other users must not reach. It must lie on a file system that can
	// hold overlay upper folders (ext4, xfs, btrfs, tmpfs; not overlayfs itself).
	Dir string
	// Log gets debug lines for layers and warnings for repairs. nil is off. Credentials never appear.
	Log *slog.Logger
	// PlainHTTP lists registries ("host" or "host:port") that may be spoken to without TLS.
	// Loopback addresses and "localhost" always may.
	PlainHTTP []string
	// TokenHosts lists, by registry host as in an image's name ("docker.io", "registry.example:5000"),
	// other hosts ("host" or "host:port") to which that registry may direct us to trade its credentials
	// for a token. The registry's own host always may. nil means DefaultTokenHosts().
	TokenHosts map[string][]string
	// Credentials finds the credentials for a repository ("docker.io/library/busybox") when a pull names
	// none. nil, and the zero Credentials, mean anonymous. Called concurrently.
	Credentials func(ctx context.Context, repository string) (Credentials, error)
	// RootCAs verifies registries; nil means the machine's.
	RootCAs *x509.CertPool
	// Proxy picks a proxy for a request, as http.Transport.Proxy does; nil means none.
	// http.ProxyFromEnvironment is the usual other choice.
	Proxy func(*http.Request) (*url.URL, error)
	// Platform is what to pick from indexes and to insist on in images. The zero value is linux and
	// the architecture of this program.
	Platform Platform
	// Concurrency is how many layers are fetched and unpacked at once over all pulls. Default 4.
	Concurrency int
	// Limits bound what an image may cost.
	Limits Limits
	// NoSync leaves out flushing layers and records to the disk before they count. A power cut may then
	// leave a damaged image; a crash of the process never does. For tests and machines that start empty.
	NoSync bool
}

// Limits bound what one image may cost. A zero field means its default; what goes beyond is ErrTooLarge
// and leaves nothing behind.
type Limits struct {
	// Manifest is the largest manifest, index or image configuration, in bytes. Default 4 MiB.
	Manifest int64
	// Layers is the most layers of an image. Default and maximum 200.
	Layers int
	// LayerBytes is the most bytes of one uncompressed layer, holes of sparse files included. Default 16 GiB.
	LayerBytes int64
	// ImageBytes is the same for all layers of an image together. Default 64 GiB.
	ImageBytes int64
	// Entries is the most archive entries of a layer, whiteouts included. Default 1,000,000.
	Entries int64
	// Time is how long one pull may take. Default one hour.
	Time time.Duration
	// Stall is how long a registry may send nothing. Default one minute.
	Stall time.Duration
}

// Platform names an operating system and processor as images do.
type Platform struct {
	OS, Architecture, Variant string
}

// String gives "os/architecture" or "os/architecture/variant".
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Credentials are what a registry wants to know. The zero value is anonymous. Either Username
// and Password, or IdentityToken (an OAuth2 refresh token), or RegistryToken (a bearer token) are set.
type Credentials struct {
	Username, Password string
	IdentityToken      string
	RegistryToken      string
}

// String hides what must not be shown.
func (c Credentials) String() string {
	if c == (Credentials{}) {
		return "anonymous"
	}
	return fmt.Sprintf("credentials of %q", c.Username)
}

// GoString hides the same from %#v.
func (c Credentials) GoString() string { return c.String() }

// LogValue hides the same from slog.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// fingerprint tells pulls with different credentials apart without keeping them.
func (c Credentials) fingerprint() string {
	h := sha256.New()
	for _, s := range []string{c.Username, c.Password, c.IdentityToken, c.RegistryToken} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// DefaultTokenHosts returns the token hosts of well-known registries that keep them apart: a fresh map, to add to.
func DefaultTokenHosts() map[string][]string {
	return map[string][]string{
		"docker.io":           {"auth.docker.io"},
		"registry.gitlab.com": {"gitlab.com"},
	}
}

const maxLayers = 200

func (c *Config) validate() error {
	if !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("image store: Dir %q must be an absolute path", c.Dir)
	}
	if strings.ContainsAny(c.Dir, "\x00\n\\,:") {
		return fmt.Errorf("image store: Dir %q holds a character that mount options can't", c.Dir)
	}
	l := &c.Limits
	for _, n := range []int64{l.Manifest, int64(l.Layers), l.LayerBytes, l.ImageBytes, l.Entries, int64(l.Time), int64(l.Stall), int64(c.Concurrency)} {
		if n < 0 {
			return errors.New("image store: limits and Concurrency must not be negative")
		}
	}
	if l.Layers > maxLayers {
		return fmt.Errorf("image store: Limits.Layers %d is over the maximum of %d", l.Layers, maxLayers)
	}
	return nil
}

func (c *Config) setDefaults() {
	c.Dir = filepath.Clean(c.Dir)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.TokenHosts == nil {
		c.TokenHosts = DefaultTokenHosts()
	}
	setDefault(&c.Platform.OS, "linux")
	setDefault(&c.Platform.Architecture, runtime.GOARCH)
	setDefault(&c.Concurrency, 4)
	l := &c.Limits
	setDefault(&l.Manifest, 4<<20)
	setDefault(&l.Layers, maxLayers)
	setDefault(&l.LayerBytes, 16<<30)
	setDefault(&l.ImageBytes, 64<<30)
	setDefault(&l.Entries, 1_000_000)
	setDefault(&l.Time, time.Hour)
	setDefault(&l.Stall, time.Minute)
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
