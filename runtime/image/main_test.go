//go:build linux

package image_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bedplate/bedplate/runtime/image"
)

const goarch = runtime.GOARCH

// TestMain is also the program that TestKilledAtAnyInstant kills.
func TestMain(m *testing.M) {
	if spec := os.Getenv("IMAGE_TEST_VICTIM"); spec != "" {
		dir, ref, _ := strings.Cut(spec, " ")
		if err := victim(dir, ref); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// victim pulls, mounts, unmounts and removes until it is killed.
func victim(dir, ref string) error {
	s, err := image.Open(image.Config{Dir: dir, NoSync: true})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		img, err := s.Pull(context.Background(), ref, image.PullOptions{})
		if err != nil {
			return err
		}
		for _, id := range []string{"one", "two"} {
			if _, err := s.Mount(context.Background(), id, img, image.MountOptions{ReadOnly: id == "two"}); err != nil {
				return err
			}
		}
		for _, id := range []string{"one", "two"} {
			if err := s.Unmount(id); err != nil {
				return err
			}
		}
		if err := s.Remove(ref); err != nil {
			return err
		}
	}
}
