package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// probe judges a probe; once says that one success must do, as for liveness and startup.
func (v *podValidator) probe(p *corev1.Probe, at *field.Path, once bool) {
	if p == nil {
		return
	}
	v.handlers(at, handlers{p.Exec, p.HTTPGet, p.TCPSocket, p.GRPC, nil})
	for _, n := range []struct {
		name  string
		value int32
	}{
		{"initialDelaySeconds", p.InitialDelaySeconds}, {"timeoutSeconds", p.TimeoutSeconds}, {"periodSeconds", p.PeriodSeconds},
		{"successThreshold", p.SuccessThreshold}, {"failureThreshold", p.FailureThreshold},
	} {
		if n.value < 0 {
			v.invalid(at.Child(n.name), n.value, "must be greater than or equal to 0")
		}
	}
	if once && p.SuccessThreshold != 1 {
		v.invalid(at.Child("successThreshold"), p.SuccessThreshold, "must be 1")
	}
	if g := p.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		v.invalid(at.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0")
	}
}

func (v *podValidator) lifecycle(l *corev1.Lifecycle, at *field.Path) {
	if l == nil {
		return
	}
	for _, h := range []struct {
		name string
		*corev1.LifecycleHandler
	}{{"postStart", l.PostStart}, {"preStop", l.PreStop}} {
		if h.LifecycleHandler != nil {
			v.handlers(at.Child(h.name), handlers{h.Exec, h.HTTPGet, h.TCPSocket, nil, h.Sleep})
		}
	}
}

// handlers are what probes and hooks have: exactly one must be set.
type handlers struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

func (v *podValidator) handlers(at *field.Path, h handlers) {
	count := 0
	one := func(name string, set bool) (*field.Path, bool) {
		if !set {
			return nil, false
		}
		if count++; count > 1 {
			v.add(field.Forbidden(at.Child(name), "may not specify more than 1 handler type"))
			return nil, false
		}
		return at.Child(name), true
	}
	if p, ok := one("exec", h.exec != nil); ok && len(h.exec.Command) == 0 {
		v.add(field.Required(p.Child("command"), ""))
	}
	if p, ok := one("httpGet", h.http != nil); ok {
		v.httpGet(h.http, p)
	}
	if p, ok := one("tcpSocket", h.tcp != nil); ok {
		v.port(h.tcp.Port, p.Child("port"))
	}
	if p, ok := one("grpc", h.grpc != nil); ok {
		v.invalid(p.Child("port"), h.grpc.Port, utilvalidation.IsValidPortNum(int(h.grpc.Port))...)
	}
	if p, ok := one("sleep", h.sleep != nil); ok {
		v.sleep(h.sleep, p)
	}
	if count == 0 {
		v.add(field.Required(at, "must specify a handler type"))
	}
}

func (v *podValidator) sleep(s *corev1.SleepAction, at *field.Path) {
	if grace := v.spec.TerminationGracePeriodSeconds; grace != nil && (s.Seconds < 0 || s.Seconds > *grace) {
		v.invalid(at.Child("seconds"), s.Seconds, "must be non-negative and less than terminationGracePeriodSeconds")
	}
}

func (v *podValidator) httpGet(g *corev1.HTTPGetAction, at *field.Path) {
	v.required(g.Path, at.Child("path"))
	v.port(g.Port, at.Child("port"))
	if g.Scheme != corev1.URISchemeHTTP && g.Scheme != corev1.URISchemeHTTPS {
		v.add(notOneOf(at.Child("scheme"), g.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS))
	}
	for _, h := range g.HTTPHeaders {
		v.invalid(at.Child("httpHeaders"), h.Name, utilvalidation.IsHTTPHeaderName(h.Name)...)
	}
}

func (v *podValidator) port(p intstr.IntOrString, at *field.Path) {
	if p.Type == intstr.Int {
		v.invalid(at, p.IntValue(), utilvalidation.IsValidPortNum(p.IntValue())...)
		return
	}
	v.invalid(at, p.StrVal, utilvalidation.IsValidPortName(p.StrVal)...)
}
