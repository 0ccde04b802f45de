//go:build linux

package runtime_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/internal/testroot"
)

// A pod with one container, from nothing to nothing. main, and here TestMain, begins with
// runtime.Init().
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "bedplate-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := testroot.Make(dir + "/root"); err != nil { // any root file system
		log.Fatal(err)
	}

	rt, err := runtime.Open(ctx, runtime.Config{Dir: dir + "/state"})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(ctx)
	if _, err := rt.CreateSandbox(ctx, runtime.SandboxSpec{ID: "web", Hostname: "web-0"}); err != nil {
		log.Fatal(err)
	}
	_, err = rt.CreateContainer(ctx, runtime.ContainerSpec{
		ID: "hello", SandboxID: "web", Rootfs: dir + "/root", ReadOnlyRoot: true,
		Args: []string{"sh", "-c", "hostname; exit 3"},
		Log:  runtime.Log{Path: dir + "/hello.log"},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := rt.StartContainer(ctx, "hello"); err != nil {
		log.Fatal(err)
	}
	st, err := rt.Wait(ctx, "hello")
	if err != nil {
		log.Fatal(err)
	}
	entry, err := os.ReadFile(dir + "/hello.log")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(st.State, st.ExitCode, st.Reason)
	fmt.Print(string(entry[len("2006-01-02T15:04:05.000000000Z "):]))
	// Output:
	// exited 3 Error
	// stdout F web-0
}

// Exec runs a command in a running container; Attach and Wait work alike.
func ExampleRuntime_Exec() {
	exec := func(ctx context.Context, rt *runtime.Runtime) (int, error) {
		return rt.Exec(ctx, "hello", runtime.ExecSpec{
			Args: []string{"cat", "/etc/hostname"}, Streams: runtime.Streams{Stdout: os.Stdout},
		})
	}
	_ = exec
}
