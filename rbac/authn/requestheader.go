package authn

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bedplate/bedplate/apimachinery"
)

// FrontProxy says which proxies may tell who sends a request, and in which headers: those that a Kubernetes puts in
// front of extension servers. Clients is needed; headers are Kubernetes' own where they are left out.
type FrontProxy struct {
	// Clients are the authorities of the proxies' client certificates.
	Clients *x509.CertPool
	// Names are the common names that such a certificate may have. Empty: any.
	Names []string
	// Users, UIDs and Groups are headers, of which the first that is there has the name and the UID; groups are in
	// all of them. Extras are prefixes of headers with further fields.
	Users, UIDs, Groups, Extras []string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

func (c *FrontProxy) validate() error {
	if c.Clients == nil {
		return errors.New("trust a front proxy: Clients must be set, or anybody could be anybody")
	}
	for list, value := range map[*[]string]string{
		&c.Users: "X-Remote-User", &c.UIDs: "X-Remote-Uid", &c.Groups: "X-Remote-Group", &c.Extras: "X-Remote-Extra-",
	} {
		if len(*list) == 0 {
			*list = []string{value}
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// RequestHeader returns the authenticator of what a front proxy says. Without a certificate of the proxy, headers mean
// nothing: such requests are somebody else's to judge. The headers are taken out of every request, so that nobody
// believes them later.
func RequestHeader(c FrontProxy) (apimachinery.Authenticator, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &requestHeader{c: c, proxies: &certificates{pool: c.Clients, now: c.Now, known: map[fingerprint]time.Time{}}}, nil
}

type requestHeader struct {
	c       FrontProxy
	proxies *certificates
}

// Authenticate implements [apimachinery.Authenticator].
func (p *requestHeader) Authenticate(r *http.Request) (apimachinery.User, bool, error) {
	u := apimachinery.User{Name: first(r.Header, p.c.Users), UID: first(r.Header, p.c.UIDs)}
	for _, h := range p.c.Groups {
		u.Groups = append(u.Groups, r.Header.Values(h)...)
	}
	u.Extra = p.extra(r.Header)
	p.clear(r.Header)
	if u.Name == "" || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return apimachinery.User{}, false, nil
	}
	if err := p.proxies.verify(r.TLS.PeerCertificates); err != nil {
		var authority x509.UnknownAuthorityError
		if errors.As(err, &authority) {
			return apimachinery.User{}, false, nil // a client's own certificate
		}
		return apimachinery.User{}, false, fmt.Errorf("verify the front proxy: %w", err)
	}
	if name := r.TLS.PeerCertificates[0].Subject.CommonName; len(p.c.Names) > 0 && !slices.Contains(p.c.Names, name) {
		return apimachinery.User{}, false, fmt.Errorf("verify the front proxy: subject with cn=%s is not in the allowed list", name)
	}
	return u, true, nil
}

func first(h http.Header, names []string) string {
	for _, n := range names {
		if v := h.Get(n); v != "" {
			return v
		}
	}
	return ""
}

func (p *requestHeader) extra(h http.Header) map[string][]string {
	var out map[string][]string
	for name, values := range h {
		for _, prefix := range p.c.Extras {
			if key, ok := cutPrefixFold(name, prefix); ok {
				if out == nil {
					out = map[string][]string{}
				}
				key = unescapeKey(key)
				out[key] = append(out[key], values...)
			}
		}
	}
	return out
}

// unescapeKey reads a key out of a header's name; what isn't percent-encoded properly is taken as it is.
func unescapeKey(text string) string {
	text = strings.ToLower(text)
	if key, err := url.PathUnescape(text); err == nil {
		return key
	}
	return text
}

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

func (p *requestHeader) clear(h http.Header) {
	for _, n := range slices.Concat(p.c.Users, p.c.UIDs, p.c.Groups) {
		h.Del(n)
	}
	for name := range h {
		for _, prefix := range p.c.Extras {
			if _, ok := cutPrefixFold(name, prefix); ok {
				delete(h, name)
			}
		}
	}
}
