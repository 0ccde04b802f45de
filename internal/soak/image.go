//go:build linux

package soak

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// makeImage makes a file with an empty ext4 filesystem.
func makeImage(path string, size int64) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(path, size); err != nil {
		return err
	}
	mke2fs, err := exec.LookPath("mke2fs")
	if err != nil {
		mke2fs = "/sbin/mke2fs" // not in everybody's PATH; of the package e2fsprogs
	}
	if out, err := exec.Command(mke2fs, "-q", "-t", "ext4", "-m", "0", "-F", path).CombinedOutput(); err != nil {
		return fmt.Errorf("make filesystem: %w: %s", err, out)
	}
	return nil
}

// mountImage mounts an image in the mount namespace of the calling process, which must be its own: mount and loop
// device then go with the process, however it ends.
func mountImage(image, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	for {
		loop, err := attach(file)
		if errors.Is(err, unix.EBUSY) {
			continue // somebody else took the free device
		}
		if err != nil {
			return fmt.Errorf("attach %s to a loop device: %w", image, err)
		}
		err = unix.Mount(loop.Name(), dir, "ext4", unix.MS_NOATIME, "")
		_ = loop.Close() // it lets go of the device, which the mount keeps
		if err != nil {
			return fmt.Errorf("mount %s: %w", image, err)
		}
		return nil
	}
}

func attach(file *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, err
	}
	loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	config := unix.LoopConfig{Fd: uint32(file.Fd())}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	if err := unix.IoctlLoopConfigure(int(loop.Fd()), &config); err != nil {
		_ = loop.Close()
		return nil, err
	}
	return loop, nil
}

// copyStill copies an image that nobody writes to just now. What the filesystem writes back of its own meanwhile
// would make a picture that no moment had, so it copies until two copies agree.
func copyStill(from, to string) error {
	for range 50 {
		if err := copySparse(from, to); err != nil {
			return err
		}
		same, err := sameContent(from, to)
		if err != nil || same {
			return err
		}
	}
	return fmt.Errorf("%s does not stand still", from)
}

const copyBlock = 1 << 20

func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	err = eachBlock(in, info.Size(), func(at int64, block []byte) error {
		_, err := out.WriteAt(block, at)
		return err
	})
	return errors.Join(err, out.Close())
}

// eachBlock reads what is not a hole.
func eachBlock(f *os.File, size int64, use func(at int64, block []byte) error) error {
	buf := make([]byte, copyBlock)
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		end, err := unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		for at = start; at < end; {
			n, err := f.ReadAt(buf[:min(copyBlock, end-at)], at)
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if err := use(at, buf[:n]); err != nil {
				return err
			}
			at += int64(n)
		}
	}
	return nil
}

func sameContent(a, b string) (bool, error) {
	fa, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	info, err := fa.Stat()
	if err != nil {
		return false, err
	}
	other := make([]byte, copyBlock)
	same := true
	err = eachBlock(fa, info.Size(), func(at int64, block []byte) error {
		if _, err := fb.ReadAt(other[:len(block)], at); err != nil {
			return err
		}
		same = same && bytes.Equal(block, other[:len(block)])
		return nil
	})
	return same, err
}
