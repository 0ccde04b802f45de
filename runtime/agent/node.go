package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate/apimachinery/client"
)

// defaultPods is how many pods a node takes.
const defaultPods = 110

// register makes the node, or takes over the one that is there, and tells its status.
func (a *Agent) register(ctx context.Context) error {
	nodes := client.For[*corev1.Node](a.c.Client)
	want := a.node()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		have, err := nodes.Create(ctx, want)
		if apierrors.IsAlreadyExists(err) {
			have, err = a.takeOver(ctx, nodes, want)
		}
		if err == nil {
			err = a.patchNode(ctx, have, a.nodeStatus(have.Status))
		}
		if err == nil {
			return nil
		}
		if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
			return fmt.Errorf("register node %s: %w", a.c.NodeName, err)
		}
		a.c.Log.Warn("node is not registered yet", "node", a.c.NodeName, "err", err)
		if sleep(ctx, pause) != nil {
			return fmt.Errorf("register node %s: %w", a.c.NodeName, errors.Join(err, ctx.Err()))
		}
	}
}

// takeOver brings the labels of a node that is there up to date; its taints and its range stay.
func (a *Agent) takeOver(ctx context.Context, nodes client.Resource[*corev1.Node], want *corev1.Node) (*corev1.Node, error) {
	have, err := nodes.Get(ctx, "", want.Name)
	if err != nil {
		return nil, err
	}
	labels := maps.Clone(have.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, want.Labels)
	if maps.Equal(labels, have.Labels) {
		return have, nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		return nil, err
	}
	return nodes.Patch(ctx, "", want.Name, types.StrategicMergePatchType, patch)
}

func (a *Agent) node() *corev1.Node {
	info := machineInfo()
	labels := map[string]string{
		corev1.LabelHostname: a.c.NodeName, corev1.LabelOSStable: info.OperatingSystem, corev1.LabelArchStable: info.Architecture,
		"beta.kubernetes.io/os": info.OperatingSystem, "beta.kubernetes.io/arch": info.Architecture,
	}
	maps.Copy(labels, a.c.Labels)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: a.c.NodeName, Labels: labels},
		Spec:       corev1.NodeSpec{Taints: a.c.Taints},
	}
}

// nodeStatus is the status now; before is the one that was told last.
func (a *Agent) nodeStatus(before corev1.NodeStatus) corev1.NodeStatus {
	s := *before.DeepCopy()
	s.Capacity = a.capacity()
	s.Allocatable = s.Capacity.DeepCopy()
	s.NodeInfo = machineInfo()
	s.Addresses = nil
	for _, addr := range a.c.Addresses {
		s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: addr.String()})
	}
	s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: a.c.NodeName})
	s.DaemonEndpoints.KubeletEndpoint.Port = a.port.Load()
	now := metav1.Now()
	for _, c := range a.nodeConditions() {
		setNodeCondition(&s, c, now)
	}
	return s
}

func (a *Agent) capacity() corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(machineCPUs()), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(a.memory, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(defaultPods, resource.DecimalSI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(diskSize(a.c.Dir).total, resource.BinarySI),
	}
	maps.Copy(list, a.c.Capacity)
	return list
}

// The shares of memory and disk below which a node is under pressure, as kubelets have them by default.
const (
	leastMemory = 100 << 20 // bytes
	leastDisk   = 10        // hundredths
	leastPids   = 1000
)

func (a *Agent) nodeConditions() []corev1.NodeCondition {
	pressure := func(t corev1.NodeConditionType, under bool, has, hasNot, yes, no string) corev1.NodeCondition {
		if under {
			return corev1.NodeCondition{Type: t, Status: corev1.ConditionTrue, Reason: has, Message: yes}
		}
		return corev1.NodeCondition{Type: t, Status: corev1.ConditionFalse, Reason: hasNot, Message: no}
	}
	disk := diskSize(a.c.Dir)
	return []corev1.NodeCondition{
		pressure(corev1.NodeMemoryPressure, machineAvailable() < leastMemory, "NodeHasInsufficientMemory", "NodeHasSufficientMemory",
			"the node has insufficient memory available", "the node has sufficient memory available"),
		pressure(corev1.NodeDiskPressure, disk.total > 0 && disk.free*100 < disk.total*leastDisk, "NodeHasDiskPressure", "NodeHasNoDiskPressure",
			"the node has disk pressure", "the node has no disk pressure"),
		pressure(corev1.NodePIDPressure, machinePids() < leastPids, "NodeHasInsufficientPID", "NodeHasSufficientPID",
			"the node has insufficient PIDs available", "the node has sufficient PIDs available"),
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "NodeAgentReady", Message: "the node agent is posting ready status"},
	}
}

func setNodeCondition(s *corev1.NodeStatus, c corev1.NodeCondition, now metav1.Time) {
	c.LastHeartbeatTime, c.LastTransitionTime = now, now
	for i, have := range s.Conditions {
		if have.Type == c.Type {
			if have.Status == c.Status {
				c.LastTransitionTime = have.LastTransitionTime
			}
			s.Conditions[i] = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

// patchNode tells the node's status, by a strategic merge that leaves alone what others have written.
func (a *Agent) patchNode(ctx context.Context, n *corev1.Node, s corev1.NodeStatus) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": n.UID}, "status": map[string]any{
		"capacity": s.Capacity, "allocatable": s.Allocatable, "conditions": s.Conditions, "addresses": replacing(s.Addresses),
		"daemonEndpoints": s.DaemonEndpoints, "nodeInfo": s.NodeInfo,
	}})
	if err != nil {
		return fmt.Errorf("encode the status of node %s: %w", n.Name, err)
	}
	_, err = client.For[*corev1.Node](a.c.Client).PatchStatus(ctx, "", n.Name, types.StrategicMergePatchType, patch)
	return err
}

// reportNode tells the node's status when it changes, and now and then although it does not.
func (a *Agent) reportNode(ctx context.Context) error {
	nodes := client.For[*corev1.Node](a.c.Client)
	told := time.Now()
	for sleep(ctx, a.c.Heartbeat) == nil {
		have, err := nodes.Get(ctx, "", a.c.NodeName)
		if apierrors.IsNotFound(err) {
			err = a.register(ctx)
		} else if err == nil {
			s := a.nodeStatus(have.Status)
			if time.Since(told) < a.c.Report && equality.Semantic.DeepEqual(still(s), still(have.Status)) {
				continue
			}
			err = a.patchNode(ctx, have, s)
		}
		if err != nil {
			if ctx.Err() == nil {
				a.c.Log.Warn("node status is not told", "node", a.c.NodeName, "err", err)
			}
			continue
		}
		told = time.Now()
	}
	return nil
}

// still is a status without its heartbeats.
func still(s corev1.NodeStatus) corev1.NodeStatus {
	out := *s.DeepCopy()
	for i := range out.Conditions {
		out.Conditions[i].LastHeartbeatTime = metav1.Time{}
	}
	return out
}

// LeaseNamespace is where the leases of nodes are.
const LeaseNamespace = "kube-node-lease"

const leaseSeconds = 40

// heartbeat keeps the node's lease.
func (a *Agent) heartbeat(ctx context.Context) error {
	leases := client.For[*coordinationv1.Lease](a.c.Client)
	for {
		if err := a.renew(ctx, leases); err != nil && ctx.Err() == nil {
			a.c.Log.Warn("node lease is not renewed", "node", a.c.NodeName, "err", err)
		}
		if sleep(ctx, a.c.Heartbeat) != nil {
			return nil
		}
	}
}

func (a *Agent) renew(ctx context.Context, leases client.Resource[*coordinationv1.Lease]) error {
	now := metav1.NowMicro()
	patch, err := json.Marshal(map[string]any{"spec": coordinationv1.LeaseSpec{
		HolderIdentity: &a.c.NodeName, LeaseDurationSeconds: ptr.To(int32(leaseSeconds)), RenewTime: &now,
	}})
	if err != nil {
		return err
	}
	_, err = leases.Patch(ctx, LeaseNamespace, a.c.NodeName, types.MergePatchType, patch)
	if !apierrors.IsNotFound(err) {
		return err
	}
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: LeaseNamespace, Name: a.c.NodeName}}
	if n, err := client.For[*corev1.Node](a.c.Client).Get(ctx, "", a.c.NodeName); err == nil {
		l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID}}
	}
	l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &a.c.NodeName, LeaseDurationSeconds: ptr.To(int32(leaseSeconds)), RenewTime: &now}
	_, err = leases.Create(ctx, l)
	return err
}
