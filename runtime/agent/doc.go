// Package agent runs the pods of one node: against a Bedplate API server, or against a real Kubernetes, where it
// takes the kubelet's place.
//
// [Agent.Run] registers the node, keeps its lease, watches the pods that are bound to it and gives each a worker.
// A worker is woken by events (the pod changed, a container ended, a probe's verdict turned, a pause is over),
// looks at what there is, decides with a pure function what to do next, does it, and tells the API. There is no
// polling between a binding and a running container.
//
// All truth is in the API, in the runtime's folder and in the kernel: a killed agent is replaced by the next,
// which adopts what runs. Containers are never the agent's children.
//
// The package declares what it needs of a network ([Network]) and of volumes ([Volumes]); runtime/node hands them in.
package agent
