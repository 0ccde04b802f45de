package agent_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"go.uber.org/goleak"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/runtime/image/imagetest"
	"github.com/bedplate/bedplate/runtime/internal/crash"
)

const (
	// childEnv makes this test binary an agent that a test can kill: it holds its configuration.
	childEnv = "AGENT_TEST_CHILD"
	// crashEnv has that agent die at a step: "step" or "step:times", times being how often to pass it before.
	crashEnv = "AGENT_TEST_CRASH"
)

func TestMain(m *testing.M) {
	if step := os.Getenv(crashEnv); step != "" {
		dieAt(step)
	}
	runtime.Init()
	if c := os.Getenv(childEnv); c != "" {
		os.Exit(childMain(c))
	}
	os.Exit(run(m))
}

func dieAt(spec string) {
	step, times, _ := strings.Cut(spec, ":")
	left := 0
	if times != "" {
		if _, err := fmt.Sscan(times, &left); err != nil {
			panic(err)
		}
	}
	var mu sync.Mutex
	crash.Set(func(s string) {
		mu.Lock()
		defer mu.Unlock()
		if s != step {
			return
		}
		if left--; left < 0 {
			os.Exit(crashed)
		}
	})
}

// crashed is the exit code of an agent that was told to die.
const crashed = 7

func run(m *testing.M) int {
	code := func() int {
		t := &mainTB{}
		defer t.finish()
		shared = newWorld(t, bedplate.Config{})
		return m.Run()
	}()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// mainTB lets TestMain use what is made for tests.
type mainTB struct {
	testing.TB
	cleanups []func()
}

func (t *mainTB) Helper()                   {}
func (t *mainTB) Cleanup(f func())          { t.cleanups = append(t.cleanups, f) }
func (t *mainTB) Context() context.Context  { return context.Background() }
func (t *mainTB) Errorf(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...) }
func (t *mainTB) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
func (t *mainTB) Fatal(a ...any)            { panic(fmt.Sprint(a...)) }

func (t *mainTB) finish() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

// world is what all tests share: an API, and a registry with an image of busybox.
type world struct {
	api      *bedplate.ControlPlane
	admin    *client.Client
	registry string
	image    string
}

var shared *world

// newWorld starts an API, with everything that tests need.
func newWorld(t testing.TB, c bedplate.Config) *world {
	w := &world{}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	w.api, err = bedplate.Start(t.Context(), c)
	must(err)
	t.Cleanup(func() { must(w.api.Stop()) })
	w.admin = w.api.Client()
	w.registry = imagetest.Registry(t)
	w.image = imagetest.Busybox(t, w.registry)
	return w
}

// push gives the image of busybox another name.
func (w *world) push(t testing.TB, name string) string {
	return imagetest.PushImage(t, w.registry, name, imagetest.BusyboxImage(t))
}

// withUser is the image of busybox, run as a user.
func (w *world) withUser(t testing.TB, user string) string {
	img, err := mutate.Config(imagetest.BusyboxImage(t), v1.Config{User: user, Cmd: []string{"sh"}})
	if err != nil {
		t.Fatal(err)
	}
	return imagetest.PushImage(t, w.registry, "user"+strings.TrimLeft(user, "-")+":v1", img)
}

// empty is an image that says nothing about what to run.
func (w *world) empty(t testing.TB) string {
	return imagetest.Push(t, w.registry, "empty:v1", map[string][]byte{"a": nil}, image.ContainerConfig{})
}
