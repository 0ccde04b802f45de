package agent

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestLinks: containers have the services of their namespace and the API's in their environment, and what they define
// themselves overrules it.
func TestLinks(t *testing.T) {
	service := func(ns, name, ip string, ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
	}
	all := map[string][]*corev1.Service{
		"default": {
			service("default", "kubernetes", "10.96.0.1", corev1.ServicePort{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}),
			service("default", "other", "10.96.0.9", corev1.ServicePort{Port: 80}),
		},
		"blue": {
			service("blue", "my-web", "10.96.0.7", corev1.ServicePort{Port: 80}, corev1.ServicePort{Name: "dns-udp", Port: 53, Protocol: corev1.ProtocolUDP}),
			service("blue", "headless", corev1.ClusterIPNone, corev1.ServicePort{Port: 80}),
			service("blue", "elsewhere", ""),
		},
	}
	s := sources{services: func(_ context.Context, ns string) ([]*corev1.Service, error) { return all[ns], nil }}
	api := map[string]string{
		"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "KUBERNETES_SERVICE_PORT_HTTPS": "443",
		"KUBERNETES_PORT": "tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
		"KUBERNETES_PORT_443_TCP_PORT": "443", "KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1",
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "blue"}, Spec: corev1.PodSpec{EnableServiceLinks: new(bool)}}
	c := &corev1.Container{}
	env, err := s.environment(t.Context(), pod, c)
	require.NoError(t, err)
	require.Equal(t, api, env)

	pod.Spec.EnableServiceLinks = nil
	c.Env = []corev1.EnvVar{{Name: "AT", Value: "http://$(MY_WEB_SERVICE_HOST):$(MY_WEB_SERVICE_PORT)"}, {Name: "MY_WEB_PORT", Value: "mine"}}
	env, err = s.environment(t.Context(), pod, c)
	require.NoError(t, err)
	want := map[string]string{
		"MY_WEB_SERVICE_HOST": "10.96.0.7", "MY_WEB_SERVICE_PORT": "80", "MY_WEB_SERVICE_PORT_DNS_UDP": "53", "MY_WEB_PORT": "mine",
		"MY_WEB_PORT_80_TCP": "tcp://10.96.0.7:80", "MY_WEB_PORT_80_TCP_PROTO": "tcp", "MY_WEB_PORT_80_TCP_PORT": "80", "MY_WEB_PORT_80_TCP_ADDR": "10.96.0.7",
		"MY_WEB_PORT_53_UDP": "udp://10.96.0.7:53", "MY_WEB_PORT_53_UDP_PROTO": "udp", "MY_WEB_PORT_53_UDP_PORT": "53", "MY_WEB_PORT_53_UDP_ADDR": "10.96.0.7",
		"AT": "http://10.96.0.7:80",
	}
	for k, v := range api {
		want[k] = v
	}
	require.Equal(t, want, env)

	pod.Namespace = "default"
	env, err = s.environment(t.Context(), pod, &corev1.Container{})
	require.NoError(t, err)
	require.Equal(t, "10.96.0.9", env["OTHER_SERVICE_HOST"])

	s.services = func(context.Context, string) ([]*corev1.Service, error) { return nil, errors.New("not yet") }
	_, err = s.environment(t.Context(), pod, c)
	require.EqualError(t, err, "read services: not yet")
	env, err = sources{}.environment(t.Context(), pod, &corev1.Container{})
	require.NoError(t, err)
	require.Empty(t, env)
}
