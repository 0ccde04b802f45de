package apitest

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	admission "k8s.io/api/admissionregistration/v1"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
)

// Webhooks are admission webhooks, and those that convert custom resources, which run in the test. Whatever names a
// service in its client configuration is called where they are served instead, under the path that it names.
type Webhooks struct {
	// Mutating and Validating are configurations that are installed last, and Paths files and folders of YAML or JSON
	// in which such are.
	Mutating   []*admission.MutatingWebhookConfiguration
	Validating []*admission.ValidatingWebhookConfiguration
	Paths      []string
	// Handler answers them, over HTTPS, by path. Nil: the test serves them itself, where [API.Webhooks] says, as
	// controller-runtime's webhook server does.
	Handler http.Handler
}

// Serving is where webhooks are to be served: the fields are those of controller-runtime's webhook.Options. In CertDir
// are tls.crt and tls.key.
type Serving struct {
	Host    string
	Port    int
	CertDir string
}

func (w *Webhooks) validate() error {
	for _, c := range w.Mutating {
		if c == nil {
			return errors.New("one of the mutating webhooks is nil")
		}
	}
	for _, c := range w.Validating {
		if c == nil {
			return errors.New("one of the validating webhooks is nil")
		}
	}
	return nil
}

const webhookHost = "127.0.0.1"

// Webhooks says where the API calls webhooks, and makes the place where there is none yet.
func (a *API) Webhooks() (Serving, error) {
	a.serveOnce.Do(func() { a.serving, a.serveErr = a.openWebhooks() })
	return a.serving, a.serveErr
}

// openWebhooks serves the handler, or finds a port and makes a certificate for who does.
func (a *API) openWebhooks() (Serving, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(webhookHost, "0"))
	if err != nil {
		return Serving{}, fmt.Errorf("serve webhooks: %w", err)
	}
	s := Serving{Host: webhookHost, Port: l.Addr().(*net.TCPAddr).Port}
	cert, err := a.ca.Other("webhooks", webhookHost, "localhost")
	if err != nil {
		return Serving{}, errors.Join(fmt.Errorf("serve webhooks: %w", err), l.Close())
	}
	if a.c.Webhooks.Handler != nil {
		a.serveWebhooks(l, cert)
		return s, nil
	}
	if err := l.Close(); err != nil {
		return Serving{}, fmt.Errorf("serve webhooks: %w", err)
	}
	if s.CertDir, err = a.writeCert(cert); err != nil {
		return Serving{}, fmt.Errorf("serve webhooks: %w", err)
	}
	return s, nil
}

func (a *API) serveWebhooks(l net.Listener, cert *tls.Certificate) {
	h := &http.Server{
		Handler: a.c.Webhooks.Handler, ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{Certificates: []tls.Certificate{*cert}},
		ErrorLog: slog.NewLogLogger(a.c.Log.Handler(), slog.LevelWarn),
	}
	_ = a.parts.run(context.Background(), "webhooks", func(ctx context.Context) error { // it is ready at once
		served := make(chan error, 1)
		go func() { served <- h.ServeTLS(l, "", "") }()
		select {
		case err := <-served:
			return err
		case <-ctx.Done():
		}
		err := h.Close()
		<-served
		return err
	}, nil)
}

// writeCert writes a certificate and its key to a folder that goes when the API does.
func (a *API) writeCert(cert *tls.Certificate) (dir string, err error) {
	key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp("", "apitest-webhooks-"); err != nil {
		return "", err
	}
	_ = a.parts.run(context.Background(), "webhook certificate", func(ctx context.Context) error { // it is ready at once
		<-ctx.Done()
		return os.RemoveAll(dir)
	}, nil)
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return dir, errors.Join(
		pki.WriteFile(filepath.Join(dir, "tls.crt"), chain, 0o600),
		pki.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key}), 0o600),
	)
}

// local is the URL of a path where webhooks are served.
func (a *API) local(path *string) (*string, error) {
	s, err := a.Webhooks()
	if err != nil {
		return nil, err
	}
	url := "https://" + net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	if path != nil {
		url += *path
	}
	return &url, nil
}

// localConversion has a definition whose conversion webhook is a service call it here.
func (a *API) localConversion(d *apiext.CustomResourceDefinition) (err error) {
	c := d.Spec.Conversion
	if c == nil || c.Webhook == nil || c.Webhook.ClientConfig == nil || c.Webhook.ClientConfig.Service == nil {
		return nil
	}
	to := c.Webhook.ClientConfig
	if to.URL, err = a.local(to.Service.Path); err != nil {
		return err
	}
	to.Service, to.CABundle = nil, a.CA()
	return nil
}

// localWebhook has a webhook that is a service called here.
func (a *API) localWebhook(to *admission.WebhookClientConfig) (err error) {
	if to.Service == nil {
		return nil
	}
	if to.URL, err = a.local(to.Service.Path); err != nil {
		return err
	}
	to.Service, to.CABundle = nil, a.CA()
	return nil
}

// startWebhooks installs the webhooks of the configuration.
func (a *API) startWebhooks(ctx context.Context) error {
	w := a.c.Webhooks
	for _, path := range w.Paths {
		if err := w.read(path); err != nil {
			return err
		}
	}
	for _, m := range w.Mutating {
		m = m.DeepCopy()
		for i := range m.Webhooks {
			if err := a.localWebhook(&m.Webhooks[i].ClientConfig); err != nil {
				return err
			}
		}
		if err := install(ctx, a, m, &m.ObjectMeta); err != nil {
			return err
		}
	}
	for _, v := range w.Validating {
		v = v.DeepCopy()
		for i := range v.Webhooks {
			if err := a.localWebhook(&v.Webhooks[i].ClientConfig); err != nil {
				return err
			}
		}
		if err := install(ctx, a, v, &v.ObjectMeta); err != nil {
			return err
		}
	}
	return nil
}

func install[T apimachinery.Object](ctx context.Context, a *API, o T, meta *metav1.ObjectMeta) error {
	meta.ResourceVersion, meta.UID = "", ""
	if _, err := client.For[T](a.Client()).Create(ctx, o); err != nil {
		return fmt.Errorf("install webhook: %w", err)
	}
	return nil
}

// read adds what is in a file or folder.
func (w *Webhooks) read(path string) error {
	files := []string{path}
	if info, err := os.Stat(path); err != nil {
		return fmt.Errorf("read webhooks: %w", err)
	} else if info.IsDir() {
		if files, err = filesIn(path); err != nil {
			return fmt.Errorf("read webhooks: %w", err)
		}
	}
	for _, file := range files {
		if err := readObjects(file, w.take); err != nil {
			return err
		}
	}
	return nil
}

func (w *Webhooks) take(kind metav1.TypeMeta, raw []byte) error {
	if kind.APIVersion != admission.SchemeGroupVersion.String() {
		return nil
	}
	switch kind.Kind {
	case "MutatingWebhookConfiguration":
		m := &admission.MutatingWebhookConfiguration{}
		w.Mutating = append(w.Mutating, m)
		return yaml.Unmarshal(raw, m)
	case "ValidatingWebhookConfiguration":
		v := &admission.ValidatingWebhookConfiguration{}
		w.Validating = append(w.Validating, v)
		return yaml.Unmarshal(raw, v)
	}
	return nil
}
