package bedplate

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/aggregate"
	"github.com/bedplate/bedplate/apimachinery/server/discovery"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
)

const (
	// proxyName is the common name by which extension servers know this one.
	proxyName = "front-proxy-client"
	// proxyLife is how long its certificate is good for. It is made anew at every start.
	proxyLife = 5 * 365 * 24 * time.Hour
	// extensionConfig is the ConfigMap in kube-system that tells extension servers whom to believe.
	extensionConfig = "extension-apiserver-authentication"
)

// openFront opens the authority of the front proxy. It is none of clients': whoever signs for those can't say who asks.
func (p *ControlPlane) openFront() (err error) {
	p.front, err = pki.Open(pki.Config{Dir: p.c.dir(filepath.Join("pki", "front-proxy"))})
	return err
}

// newAggregator makes what leads to extension servers.
func (p *ControlPlane) newAggregator() (*aggregate.Aggregator, error) {
	certificate, key, err := p.front.Client(proxyName, nil, proxyLife)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("certificate of the front proxy: %w", err)
	}
	return aggregate.New(aggregate.Config{
		Registry: p.registry, Services: server.ServiceResolverFunc(p.security.lookup.resolve), Certificate: &pair,
		Dial: p.c.Dial, Log: p.c.Log,
	})
}

// publishFront tells extension servers whom to believe: the authority of clients, and that of the front proxy. Where
// several control planes have authorities of their own, all are told of.
func (p *ControlPlane) publishFront(ctx context.Context) error {
	want := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: extensionConfig},
		Data: map[string]string{
			"client-ca-file": string(p.ca.CertificatePEM()), "requestheader-client-ca-file": string(p.front.CertificatePEM()),
		},
	}
	for key, list := range map[string][]string{
		"requestheader-allowed-names": {proxyName}, "requestheader-username-headers": {"X-Remote-User"},
		"requestheader-uid-headers": {"X-Remote-Uid"}, "requestheader-group-headers": {"X-Remote-Group"},
		"requestheader-extra-headers-prefix": {"X-Remote-Extra-"},
	} {
		text, err := json.Marshal(list)
		if err != nil {
			return err
		}
		want.Data[key] = string(text)
	}
	maps := client.For[*corev1.ConfigMap](p.Client())
	err := ensure(ctx, p.security.lookup, maps, want, func(have *corev1.ConfigMap) bool {
		changed := false
		for key, value := range want.Data {
			if strings.HasSuffix(key, "-file") && have.Data[key] != "" {
				value = joined(have.Data[key], value)
			}
			changed = changed || have.Data[key] != value
			want.Data[key] = value
		}
		return changed
	})
	if err != nil {
		return fmt.Errorf("tell extension servers whom to believe: %w", err)
	}
	return nil
}

// joined adds a certificate to a bundle unless it is in it.
func joined(bundle, certificate string) string {
	if bytes.Contains([]byte(bundle), bytes.TrimSpace([]byte(certificate))) {
		return bundle
	}
	return strings.TrimRight(bundle, "\n") + "\n" + certificate
}

// extensions shows in discovery and OpenAPI what other servers have.
type extensions struct{ *aggregate.Aggregator }

// Extensions implements discovery.Source.
func (e extensions) Extensions() (list []discovery.Extension, generation uint64) {
	all, generation := e.Aggregator.Extensions()
	for _, x := range all {
		list = append(list, discovery.Extension(x))
	}
	return list, generation
}
