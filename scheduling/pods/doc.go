// Package pods schedules Kubernetes pods onto nodes: the plugins that decide
// what kube-scheduler v1.37 decides, over columns, with its reasons word for word.
//
// The plugins are pure state and can be used apart: [Default] lists them for a
// [scheduling.Engine] of one's own, beside plugins of one's own; [Config] is that
// with all that a queue of pods needs to know. They share columns: Resources,
// Labels, Taints and Ports are each kept once, whoever asks.
//
// Pods and nodes that are handed in must not be changed afterwards.
package pods
