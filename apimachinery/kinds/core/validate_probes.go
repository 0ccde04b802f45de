package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

// probe judges a probe; once says that one success must do, as for liveness and startup.
func (v *podValidator) probe(p *corev1.Probe, at *place, once bool) {
	if p == nil {
		return
	}
	v.handlers(at, handlers{p.Exec, p.HTTPGet, p.TCPSocket, p.GRPC, nil})
	v.notNegative(int64(p.InitialDelaySeconds), at.child("initialDelaySeconds"))
	v.notNegative(int64(p.TimeoutSeconds), at.child("timeoutSeconds"))
	v.notNegative(int64(p.PeriodSeconds), at.child("periodSeconds"))
	v.notNegative(int64(p.SuccessThreshold), at.child("successThreshold"))
	v.notNegative(int64(p.FailureThreshold), at.child("failureThreshold"))
	if once && p.SuccessThreshold != 1 {
		v.invalid(at.child("successThreshold"), p.SuccessThreshold, "must be 1")
	}
	if g := p.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		v.invalid(at.child("terminationGracePeriodSeconds"), *g, "must be greater than 0")
	}
}

func (v *podValidator) lifecycle(l *corev1.Lifecycle, at *place) {
	if l == nil {
		return
	}
	for _, h := range []struct {
		name string
		*corev1.LifecycleHandler
	}{{"postStart", l.PostStart}, {"preStop", l.PreStop}} {
		if h.LifecycleHandler != nil {
			v.handlers(at.child(h.name), handlers{h.Exec, h.HTTPGet, h.TCPSocket, nil, h.Sleep})
		}
	}
	if l.StopSignal != nil {
		v.stopSignal(*l.StopSignal, at.child("stopSignal"))
	}
}

// stopSignal judges KEP-4960's signal, whose meaning depends on the system.
func (v *podValidator) stopSignal(s corev1.Signal, at *place) {
	switch {
	case v.spec.OS == nil:
		v.add(field.Forbidden(at.path(), "may not be set for containers with empty `spec.os.name`"))
	case v.spec.OS.Name == corev1.Windows && !slices.Contains(windowsSignals, s):
		v.add(notOneOf(at.path(), s, windowsSignals...))
	case v.spec.OS.Name == corev1.Linux && !slices.Contains(linuxSignals, s):
		v.add(notOneOf(at.path(), s, linuxSignals...))
	}
}

var (
	windowsSignals = []corev1.Signal{corev1.SIGKILL, corev1.SIGTERM}
	linuxSignals   = []corev1.Signal{
		corev1.SIGABRT, corev1.SIGALRM, corev1.SIGBUS, corev1.SIGCHLD, corev1.SIGCLD, corev1.SIGCONT, corev1.SIGFPE, corev1.SIGHUP,
		corev1.SIGILL, corev1.SIGINT, corev1.SIGIO, corev1.SIGIOT, corev1.SIGKILL, corev1.SIGPIPE, corev1.SIGPOLL, corev1.SIGPROF,
		corev1.SIGPWR, corev1.SIGQUIT, corev1.SIGSEGV, corev1.SIGSTKFLT, corev1.SIGSTOP, corev1.SIGSYS, corev1.SIGTERM, corev1.SIGTRAP,
		corev1.SIGTSTP, corev1.SIGTTIN, corev1.SIGTTOU, corev1.SIGURG, corev1.SIGUSR1, corev1.SIGUSR2, corev1.SIGVTALRM, corev1.SIGWINCH,
		corev1.SIGXCPU, corev1.SIGXFSZ, corev1.SIGRTMIN, corev1.SIGRTMINPLUS1, corev1.SIGRTMINPLUS2, corev1.SIGRTMINPLUS3,
		corev1.SIGRTMINPLUS4, corev1.SIGRTMINPLUS5, corev1.SIGRTMINPLUS6, corev1.SIGRTMINPLUS7, corev1.SIGRTMINPLUS8, corev1.SIGRTMINPLUS9,
		corev1.SIGRTMINPLUS10, corev1.SIGRTMINPLUS11, corev1.SIGRTMINPLUS12, corev1.SIGRTMINPLUS13, corev1.SIGRTMINPLUS14,
		corev1.SIGRTMINPLUS15, corev1.SIGRTMAXMINUS14, corev1.SIGRTMAXMINUS13, corev1.SIGRTMAXMINUS12, corev1.SIGRTMAXMINUS11,
		corev1.SIGRTMAXMINUS10, corev1.SIGRTMAXMINUS9, corev1.SIGRTMAXMINUS8, corev1.SIGRTMAXMINUS7, corev1.SIGRTMAXMINUS6,
		corev1.SIGRTMAXMINUS5, corev1.SIGRTMAXMINUS4, corev1.SIGRTMAXMINUS3, corev1.SIGRTMAXMINUS2, corev1.SIGRTMAXMINUS1, corev1.SIGRTMAX,
	}
)

// handlers are what probes and hooks have: exactly one must be set.
type handlers struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

func (v *podValidator) handlers(at *place, h handlers) {
	count := 0
	one := func(name string, set bool) (*place, bool) {
		if !set {
			return nil, false
		}
		if count++; count > 1 {
			v.add(field.Forbidden(at.child(name).path(), "may not specify more than 1 handler type"))
			return nil, false
		}
		return at.child(name), true
	}
	if p, ok := one("exec", h.exec != nil); ok && len(h.exec.Command) == 0 {
		v.add(field.Required(p.child("command").path(), ""))
	}
	if p, ok := one("httpGet", h.http != nil); ok {
		v.httpGet(h.http, p)
	}
	if p, ok := one("tcpSocket", h.tcp != nil); ok {
		v.port(h.tcp.Port, p.child("port"))
	}
	if p, ok := one("grpc", h.grpc != nil); ok {
		v.port(intstr.FromInt32(h.grpc.Port), p.child("port"))
	}
	if p, ok := one("sleep", h.sleep != nil); ok {
		v.sleep(h.sleep, p)
	}
	if count == 0 {
		v.add(field.Required(at.path(), "must specify a handler type"))
	}
}

func (v *podValidator) sleep(s *corev1.SleepAction, at *place) {
	if grace := v.spec.TerminationGracePeriodSeconds; grace != nil && (s.Seconds < 0 || s.Seconds > *grace) {
		v.invalid(at, s.Seconds, "must be non-negative and less than terminationGracePeriodSeconds")
	}
}

func (v *podValidator) httpGet(g *corev1.HTTPGetAction, at *place) {
	v.required(g.Path, at.child("path"))
	v.port(g.Port, at.child("port"))
	if g.Scheme != corev1.URISchemeHTTP && g.Scheme != corev1.URISchemeHTTPS {
		v.add(notOneOf(at.child("scheme").path(), g.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS))
	}
	for _, h := range g.HTTPHeaders {
		v.form(at.child("httpHeaders"), h.Name, utilvalidation.IsHTTPHeaderName)
	}
}

func (v *podValidator) port(p intstr.IntOrString, at *place) {
	if p.Type == intstr.Int {
		v.add(invalid(at.path(), p.IntValue(), utilvalidation.IsValidPortNum(p.IntValue())...)...)
		return
	}
	v.form(at, p.StrVal, forms.PortName)
}
