package agent

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apiService is the service that every pod has in its environment, wherever it is: clients find the API by it.
const apiService = "kubernetes"

// links are the variables by which the containers of a pod find services: those of its namespace, unless it does without,
// and the API's.
func (s sources) links(ctx context.Context, p *corev1.Pod) (map[string]string, error) {
	env := map[string]string{}
	if s.services == nil {
		return env, nil
	}
	all, err := s.services(ctx, metav1.NamespaceDefault)
	if err != nil {
		return nil, fmt.Errorf("read services: %w", err)
	}
	for _, service := range all {
		if service.Name == apiService {
			link(env, service)
		}
	}
	if p.Spec.EnableServiceLinks != nil && !*p.Spec.EnableServiceLinks {
		return env, nil
	}
	if p.Namespace != metav1.NamespaceDefault {
		if all, err = s.services(ctx, p.Namespace); err != nil {
			return nil, fmt.Errorf("read services: %w", err)
		}
	}
	for _, service := range all {
		link(env, service)
	}
	return env, nil
}

// link adds a service's variables, as Kubernetes and, before it, Docker name them.
func link(env map[string]string, s *corev1.Service) {
	ip := s.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return
	}
	name := variable(s.Name)
	env[name+"_SERVICE_HOST"] = ip
	env[name+"_SERVICE_PORT"] = strconv.Itoa(int(s.Spec.Ports[0].Port))
	for i, p := range s.Spec.Ports {
		port, protocol := strconv.Itoa(int(p.Port)), string(p.Protocol)
		if protocol == "" {
			protocol = string(corev1.ProtocolTCP)
		}
		if p.Name != "" {
			env[name+"_SERVICE_PORT_"+variable(p.Name)] = port
		}
		url := strings.ToLower(protocol) + "://" + net.JoinHostPort(ip, port)
		if i == 0 {
			env[name+"_PORT"] = url
		}
		prefix := name + "_PORT_" + port + "_" + strings.ToUpper(protocol)
		env[prefix], env[prefix+"_PROTO"], env[prefix+"_PORT"], env[prefix+"_ADDR"] = url, strings.ToLower(protocol), port, ip
	}
}

func variable(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }
