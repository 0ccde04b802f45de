//go:build linux

// Package reexec lets the binary be libcontainer's init stage: the process that sets up
// a container from inside and becomes its command.
//
// It does so in its own initialisation. Every start and every exec of a container
// runs the binary again, and waiting for main would pay for initialising all packages
// of the program each time. Packages are initialised in the order of their paths as
// soon as what they import is, and this one's path sorts early.
package reexec

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // enters namespaces before Go starts
)

func init() {
	// The environment is what nsenter goes by: a program's own command "init" is none
	// of ours.
	if len(os.Args) > 1 && os.Args[1] == "init" &&
		os.Getenv("_LIBCONTAINER_SYNCPIPE") != "" && os.Getenv("_LIBCONTAINER_INITPIPE") != "" {
		libcontainer.Init()
	}
}
