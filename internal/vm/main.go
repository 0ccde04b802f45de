package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

type options struct {
	kernel, accel, tags, args string
	cluster                   bool
	memory                    int
	timeout                   time.Duration
	packages                  []string
}

func main() {
	var o options
	flag.StringVar(&o.kernel, "kernel", "linux-image-cloud-amd64", "Debian package of the kernel")
	flag.StringVar(&o.accel, "accel", "", "QEMU's accelerator (default: kvm, and tcg where that fails)")
	flag.StringVar(&o.tags, "tags", "seccomp", "build tags")
	flag.StringVar(&o.args, "args", "", "arguments for every test binary")
	flag.BoolVar(&o.cluster, "cluster", false, "run examples/cluster too: its demo starts, Ctrl-C ends it, nothing is left")
	flag.IntVar(&o.memory, "memory", 3072, "memory of the machine in MiB")
	flag.DurationVar(&o.timeout, "timeout", 45*time.Minute, "the longest that the machine may run")
	flag.Parse()
	o.packages = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if len(o.packages) == 0 && !o.cluster {
		return errors.New("nothing to run: name packages, or -cluster")
	}
	dir, err := os.MkdirTemp("", "vm-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	k, err := kernel(ctx, o.kernel)
	if err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	disk, err := makeDisk(ctx, dir, k, o)
	if err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	return boot(ctx, k, disk, o)
}

// command runs a program, in a folder, and returns what it wrote; its errors go to ours.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w", cmd, err)
	}
	return string(out), nil
}
