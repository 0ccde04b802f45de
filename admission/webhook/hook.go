package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/admission/internal/hook"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/callout"
	"github.com/bedplate/bedplate/apimachinery/cel"
)

// webhook is one webhook, ready to be asked.
type webhook struct {
	name, configuration string
	typ                 string // admit or validating, as metrics call them
	criteria            *hook.Criteria
	conditions          *cel.Conditions
	conditional         bool // there are conditions
	ignores             bool // failures
	again               bool // it may be asked in a second round
	effects             *admissionregistrationv1.SideEffectClass
	timeout             time.Duration
	versions            []string
	url                 *url.URL
	urlErr              error
	service             *admissionregistrationv1.ServiceReference
	services            Services
	client              func() (*http.Client, error)

	mu   sync.Mutex
	made *http.Client
}

func (c *caller) mutating(configuration string, w *admissionregistrationv1.MutatingWebhook) *webhook {
	out := c.webhook(configuration, w.Name, "admit", &w.ClientConfig)
	out.criteria = hook.ForWebhook(w.Rules, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector)
	out.conditional = len(w.MatchConditions) > 0
	out.conditions = c.c.Language.Conditions(w.MatchConditions, w.FailurePolicy)
	out.ignores, out.effects, out.versions = ignores(w.FailurePolicy), w.SideEffects, w.AdmissionReviewVersions
	out.again = w.ReinvocationPolicy != nil && *w.ReinvocationPolicy == admissionregistrationv1.IfNeededReinvocationPolicy
	out.timeout = seconds(w.TimeoutSeconds)
	return out
}

func (c *caller) validating(configuration string, w *admissionregistrationv1.ValidatingWebhook) *webhook {
	out := c.webhook(configuration, w.Name, "validating", &w.ClientConfig)
	out.criteria = hook.ForWebhook(w.Rules, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector)
	out.conditional = len(w.MatchConditions) > 0
	out.conditions = c.c.Language.Conditions(w.MatchConditions, w.FailurePolicy)
	out.ignores, out.effects, out.versions = ignores(w.FailurePolicy), w.SideEffects, w.AdmissionReviewVersions
	out.timeout = seconds(w.TimeoutSeconds)
	return out
}

func ignores(p *admissionregistrationv1.FailurePolicyType) bool {
	return p != nil && *p == admissionregistrationv1.Ignore
}

func seconds(n *int32) time.Duration {
	if n == nil {
		return 10 * time.Second
	}
	return time.Duration(*n) * time.Second
}

func (c *caller) webhook(configuration, name, typ string, at *admissionregistrationv1.WebhookClientConfig) *webhook {
	w := &webhook{name: name, configuration: configuration, typ: typ, services: c.c.Services}
	peer, dial := callout.Peer{CABundle: at.CABundle}, callout.Dial(nil)
	switch {
	case at.Service != nil:
		w.service, dial = at.Service, c.c.Dial
		peer.ServerName = at.Service.Name + "." + at.Service.Namespace + ".svc"
	case at.URL != nil:
		if w.url, w.urlErr = url.Parse(*at.URL); w.urlErr == nil {
			w.url.Path = path.Join("/", w.url.Path) // as Kubernetes' client sends it: envtest writes two slashes
		}
	default:
		w.urlErr = errors.New("webhook configuration must have either service or URL")
	}
	w.client = func() (*http.Client, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.made == nil {
			made, err := peer.Client(dial)
			if err != nil {
				return nil, err
			}
			w.made = made
		}
		return w.made, nil
	}
	return w
}

// close lets go of the connections that nobody uses now; those in use end when they have been idle for a while.
func (w *webhook) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.made != nil {
		w.made.CloseIdleConnections()
	}
}

// key tells a webhook from others in one request.
func (w *webhook) key() string { return w.configuration + "/" + w.name }

// address is where it is asked, with the time that it has.
func (w *webhook) address(ctx context.Context) (*url.URL, error) {
	at, err := w.url, w.urlErr
	if w.service != nil {
		at, err = w.resolve(ctx)
	}
	if err != nil {
		return nil, err
	}
	out := *at
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		whole := left.Truncate(time.Second)
		if whole != left {
			whole += time.Second
		}
		q := out.Query()
		q.Set("timeout", whole.String())
		out.RawQuery = q.Encode()
	}
	return &out, nil
}

func (w *webhook) resolve(ctx context.Context) (*url.URL, error) {
	s := w.service
	if w.services == nil {
		return nil, fmt.Errorf("this server resolves no services: %s/%s", s.Namespace, s.Name)
	}
	port := int32(443)
	if s.Port != nil {
		port = *s.Port
	}
	at, err := w.services.Resolve(ctx, s.Namespace, s.Name, port)
	if err != nil {
		return nil, err
	}
	out := *at
	out.Path = ""
	if s.Path != nil {
		out.Path = "/" + strings.TrimPrefix(*s.Path, "/")
	}
	return &out, nil
}

// wanted says whether a webhook is to be asked about a request, and as what it sees it. An error is an API Status.
func (c *caller) wanted(ctx context.Context, w *webhook, r *hook.Request) (as hook.Target, ok bool, err error) {
	as, ok, err = w.criteria.Match(ctx, r)
	if err != nil || !ok {
		return as, false, err
	}
	if !w.conditional {
		return as, true, nil
	}
	in := &cel.Input{Admission: r.Admission, Kind: as.Kind, Resource: as.Resource, Authorizer: c.c.Authorizer}
	if in.Object, in.Old, err = r.Seen(as); err != nil {
		return as, false, apierrors.NewInternalError(err)
	}
	match, err := w.conditions.Match(ctx, in)
	if err != nil {
		return as, false, apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, err)
	}
	return as, match, nil
}

// callError says that a webhook could not be asked, or gave no sensible answer.
type callError struct {
	webhook string
	reason  error
	code    int32
}

// Error is what a client gets to see.
func (e *callError) Error() string {
	return fmt.Sprintf("failed calling webhook %q: %v", e.webhook, e.reason)
}

// Unwrap returns the reason.
func (e *callError) Unwrap() error { return e.reason }

// denial is a webhook's no.
type denial struct{ *apierrors.StatusError }

// denied makes the error of a webhook's no: never a success, never below 400.
func denied(name string, result *metav1.Status) error {
	if result == nil {
		result = &metav1.Status{}
	}
	if result.Code < http.StatusBadRequest {
		result.Code = http.StatusBadRequest
	}
	if result.Status == "" || result.Status == metav1.StatusSuccess {
		result.Status = metav1.StatusFailure
	}
	by := fmt.Sprintf("admission webhook %q denied the request", name)
	switch {
	case result.Message != "":
		result.Message = by + ": " + result.Message
	case result.Reason != "":
		result.Message = by + ": " + string(result.Reason)
	default:
		result.Message = by + " without explanation"
	}
	return denial{&apierrors.StatusError{ErrStatus: *result}}
}

var _ apimachinery.Mutator = (*mutator)(nil)
