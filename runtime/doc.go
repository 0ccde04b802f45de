// Package runtime runs pods and containers from Go, with no daemon.
//
// A pod is a sandbox: network, IPC and UTS namespaces pinned by bind mounts
// (no pause process), a pod-level cgroup (v1 or v2), sysctls and a shared
// /dev/shm. Containers run inside it on libcontainer: capabilities, the default
// seccomp profile, no_new_privs, masked paths, resources, logs in CRI format,
// exec and attach with or without a terminal.
//
// # One binary, four roles
//
// A container must outlive the program that started it, so that program is never
// its parent. The same executable plays every role, and [Init], on the first
// line of main (and of TestMain), is what lets it:
//
//   - the agent is your process: it calls [Open] and the methods of [Runtime];
//   - the keeper, detached from the agent, is caught in a C constructor before Go
//     starts: it reaps orphans and writes their exit codes to a spool on disk;
//   - the launcher is the keeper's child: it asks libcontainer to create and exec,
//     copies output into log files, and may die and come back at any time;
//   - the init stage of libcontainer, which becomes the container's process.
//
// Killing the agent, the launcher or both costs nothing: containers go on with
// the same PIDs and start times, and their exit codes are kept. Killing the keeper
// costs the exit codes of the containers that were running then (they end with
// [ReasonExitCodeLost]), the terminal of those that had one, and the open standard
// input of those that had that; other containers don't notice. The next Open
// (or the next call that needs it) starts another keeper.
//
// With Config.InProcess there is no keeper and no launcher: containers are
// children of the caller. It is cheaper and leaves no process behind, and what is
// lost when the caller dies is what is lost with a keeper.
//
// # Order of calls
//
// [Runtime.CreateSandbox], [Runtime.CreateContainer] (writes the spec, starts nothing),
// [Runtime.StartContainer], [Runtime.Wait], [Runtime.StopContainer],
// [Runtime.RemoveContainer], [Runtime.RemoveSandbox]. A container runs once: to run it
// again, remove it and create another. Everything is kept in Config.Dir, so that the
// next Open adopts what exists. [Runtime.Detach] leaves all of it running;
// [Runtime.Shutdown] stops and removes everything, and ends the keeper.
//
// # Limits
//
// It needs root and cgo. Seccomp profiles need the build tag seccomp (and
// libseccomp); without it a spec that asks for a profile is refused. Checkpoint and
// restore, rootless containers and user namespaces are not offered.
package runtime
