//go:build linux

package runtime

import (
	"syscall"
	"time"
)

// State is where a container is in its life.
type State string

// A container goes from created to running to exited, never back.
const (
	StateCreated State = "created"
	StateRunning State = "running"
	StateExited  State = "exited"
)

// Reasons that an exited container may give. Those of Kubernetes have its names.
const (
	ReasonCompleted    = "Completed"    // exit code 0
	ReasonError        = "Error"        // any other exit code, or a signal
	ReasonOOMKilled    = "OOMKilled"    // killed for exceeding its memory limit
	ReasonStartError   = "StartError"   // never ran; Message says why; exit code 128
	ReasonExitCodeLost = "ExitCodeLost" // ended while no keeper lived; exit code 255
)

// SandboxStatus is what is known of a sandbox.
type SandboxStatus struct {
	Spec SandboxSpec
	// NetnsPath is the pinned network namespace, for a network to attach to.
	// Empty with HostNetwork.
	NetnsPath string
	// CgroupPath is the pod's cgroup as an absolute path within each hierarchy.
	CgroupPath string
	CreatedAt  time.Time
	// Ready is false when its namespaces are gone, after the machine restarted: it can
	// only be removed then.
	Ready bool
}

// ContainerStatus is what is known of a container.
type ContainerStatus struct {
	Spec  ContainerSpec
	State State
	// PID and StartTime (in clock ticks since the machine started, as in
	// /proc/PID/stat) identify the process; zero before StartContainer.
	PID       int
	StartTime uint64
	// CreatedAt, StartedAt and FinishedAt are zero until they happen.
	CreatedAt, StartedAt, FinishedAt time.Time
	// ExitCode is the command's exit code, or 128 and the number of the signal that
	// ended it. Meaningful once State is exited.
	ExitCode int
	// Signal is the signal that ended it, 0 if none did.
	Signal syscall.Signal
	// OOMKilled tells that the kernel killed something in the container for want of
	// memory and the container ended with an error.
	OOMKilled bool
	// Reason is one of the Reason constants once State is exited; Message explains
	// where there is more to say.
	Reason, Message string
	// Warnings tell what the machine did not allow and was done without.
	Warnings []string
}

// EventType says what happened to a container.
type EventType string

// What happens to containers.
const (
	EventCreated EventType = "created"
	EventStarted EventType = "started"
	EventExited  EventType = "exited"
	EventRemoved EventType = "removed"
)

// Event is one thing that happened to a container. Status is as it was right after.
type Event struct {
	Type   EventType
	Status ContainerStatus
}

// Stats is what a cgroup has used.
type Stats struct {
	// Time is when it was read.
	Time time.Time
	// CPU is the time used by all CPUs together since the cgroup was made.
	CPU time.Duration
	// Memory is in bytes, page cache included; WorkingSet is Memory less inactive
	// page cache; Anonymous is memory that no file backs; Limit is 0 if there is none.
	Memory, WorkingSet, Anonymous, Limit uint64
	// OOMKills counts kills by the kernel for want of memory.
	OOMKills uint64
	// Pids is the number of processes and threads.
	Pids uint64
}
