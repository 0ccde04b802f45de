package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/runtime"
)

// The labels of sandboxes and containers, by which an agent knows what another made: those of CRI clients.
const (
	labelPodName   = "io.kubernetes.pod.name"
	labelNamespace = "io.kubernetes.pod.namespace"
	labelPodUID    = "io.kubernetes.pod.uid"
	labelContainer = "io.kubernetes.container.name"
	// labelAttempt counts the runs of a container, from 0; labelCalm is the member's calm at its start.
	labelAttempt = "io.bedplate.attempt"
	labelCalm    = "io.bedplate.calm"
	labelGrace   = "io.bedplate.grace"
	// labelImage is the image as the container's spec had it, labelImageID what that was.
	labelImage   = "io.bedplate.image"
	labelImageID = "io.bedplate.image-id"
)

// id names a thing of a pod by what it is, so that making it twice is making it once.
func id(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

func sandboxID(uid string) string { return id(uid) }

func runID(uid, container string, attempt int) string {
	return id(uid, container, strconv.Itoa(attempt))
}

func podLabels(p *corev1.Pod) map[string]string {
	return map[string]string{labelPodName: p.Name, labelNamespace: p.Namespace, labelPodUID: string(p.UID)}
}

func podUID(labels map[string]string) types.UID { return types.UID(labels[labelPodUID]) }

// number reads a number that this agent, or one before it, wrote into a label.
func number(s *runtime.ContainerStatus, label string) int {
	n, err := strconv.Atoi(s.Spec.Labels[label])
	if err != nil {
		return 0
	}
	return n
}
