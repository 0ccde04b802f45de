// Vm runs tests, and examples/cluster, in a virtual machine with a stock distribution kernel and cgroup version 2
// alone, as most users have it:
//
//	go run ./internal/vm ./runtime ./runtime/agent
//	go run ./internal/vm -args '-test.run=TestLimits -test.v' ./runtime
//	go run ./internal/vm -cluster
//
// The kernel is Debian's linux-image-cloud-amd64, unpacked into the user's cache folder and never installed. It needs
// no initramfs: the drivers of the disk (NVMe) and of its file system are built in, the other modules are loaded on
// demand. The disk holds busybox, the test binaries with their libraries, and an init, a shell script, that runs them
// one after the other and says on the serial console how each went. There is no network but lo.
//
// It needs an amd64 Debian with qemu-system-x86, e2fsprogs and busybox-static ("make vmtest" installs them), and
// package lists for the kernel if it is not in the cache.
//
// The machine runs under KVM, and is emulated where it does not come up in half a minute: some virtual machines have
// a /dev/kvm that can't run this kernel. Emulated, it is up in three seconds, and the packages of "make vmtest" take
// about a quarter of an hour on two cores; tests must have patience for that.
package main
