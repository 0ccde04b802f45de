package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// What init says first, and what it says last before the names of what failed.
const (
	sayUp      = "vm: up"
	sayVerdict = "vm: failed:"
)

var errNotUp = errors.New("the machine does not come up")

// boot runs the machine to its end and shows its console. The error tells what failed in it.
func boot(ctx context.Context, kernel, disk string, o options) error {
	image, err := one(kernel, "boot/vmlinuz-*")
	if err != nil {
		return err
	}
	fmt.Printf("booting %s, cgroup version 2\n", strings.TrimPrefix(filepath.Base(image), "vmlinuz-"))
	if o.accel != "" {
		return start(ctx, image, disk, o.accel, o)
	}
	// There is a /dev/kvm that can't run this kernel: in some virtual machines.
	err = start(ctx, image, disk, "kvm", o)
	if errors.Is(err, errNotUp) && ctx.Err() == nil {
		fmt.Println("no use of /dev/kvm: the processor is emulated, which is slow")
		err = start(ctx, image, disk, "tcg", o)
	}
	return err
}

// start runs the machine once. The error is errNotUp if its init never ran.
func start(ctx context.Context, image, disk, accel string, o options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-machine", "q35", "-accel", accel,
		"-cpu", "max,arch-capabilities=off", // hosts that are virtual machines themselves may refuse these
		"-smp", "2", "-m", strconv.Itoa(o.memory), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-kernel", image,
		"-append", "console=ttyS0 loglevel=1 panic=-1 root=/dev/nvme0n1 rw init=/init",
		"-drive", "if=none,id=disk,format=raw,cache=unsafe,file="+disk, "-device", "nvme,serial=disk,drive=disk")
	var complaints strings.Builder
	cmd.Stderr, cmd.WaitDelay = &complaints, 5*time.Second
	console, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	const patience = 30 * time.Second // KVM needs 2, emulation 10
	tooLate := time.AfterFunc(patience, func() { cancel(errNotUp) })
	defer tooLate.Stop()
	said := follow(console, os.Stdout, func() {
		tooLate.Reset(o.timeout)
	})
	ended := cmd.Wait()
	switch cause := context.Cause(ctx); {
	case cause == nil && ended == nil || errors.Is(said, errNotUp):
		return said
	case cause != nil:
		return fmt.Errorf("the machine: %w", cause)
	default:
		return fmt.Errorf("the machine: %w\n%s", ended, complaints.String())
	}
}

// follow copies the console, calls up once init runs, and returns what it said at its end.
func follow(console io.Reader, to io.Writer, up func()) error {
	said := errNotUp
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		failed, end := strings.CutPrefix(line, sayVerdict)
		switch {
		case line == sayUp:
			said = errors.New("the machine ended before its tests did")
			up()
		case end && failed == "":
			said = nil
		case end:
			said = errors.New("failed:" + failed)
		default:
			fmt.Fprintln(to, line)
		}
	}
	return errors.Join(said, lines.Err())
}
