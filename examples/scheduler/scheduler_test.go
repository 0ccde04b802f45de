package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/kubeconfig"
	"github.com/bedplate/bedplate/apimachinery/kinds/apps"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/scheduling"
	"github.com/bedplate/bedplate/scheduling/pods"
	"github.com/bedplate/bedplate/scheduling/schedulingtest"
)

// asMain makes the test binary the example itself.
const asMain = "SCHEDULER_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestJudge(t *testing.T) {
	of := func(team string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"team": team}}}
	}
	other := scheduling.Verdict{No: "node(s) belonged to another team"}
	for name, c := range map[string]struct {
		pod   *corev1.Pod
		there []*corev1.Pod
		want  scheduling.Verdict
	}{
		"empty":              {of("red"), nil, scheduling.Verdict{}},
		"own":                {of("red"), []*corev1.Pod{of("red")}, scheduling.Verdict{Score: scheduling.MaxScore}},
		"another's":          {of("red"), []*corev1.Pod{of("blue")}, other},
		"own and another's":  {of("red"), []*corev1.Pod{of("red"), of("blue")}, other},
		"nobody's":           {of("red"), []*corev1.Pod{{}}, scheduling.Verdict{}},
		"no team, another's": {&corev1.Pod{}, []*corev1.Pod{of("blue")}, scheduling.Verdict{}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, judge(c.pod, nil, c.there)) })
	}
}

// The plugin passes the suite that every plugin should.
func TestPlugin(t *testing.T) {
	teams := []string{"", "red", "blue"}
	schedulingtest.Run(t, schedulingtest.Subject[*corev1.Pod, corev1.Node]{
		New:  func() pods.Plugin { all := plugins(); return all[len(all)-1] },
		Host: func(_ *rand.Rand, name string) *corev1.Node { return node(name) },
		Item: func(r *rand.Rand, name string) *corev1.Pod {
			return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": teams[r.IntN(len(teams))]}}}
		},
	})
}

func TestAlone(t *testing.T) {
	team, err := os.ReadFile("team.yaml")
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	begin(t, "Ready", alone)
	use(t, connect(t, "scheduler.kubeconfig"), team)
}

func TestJoined(t *testing.T) {
	team, err := os.ReadFile("team.yaml")
	require.NoError(t, err)
	plane, err := bedplate.Start(t.Context(), bedplate.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, plane.Stop()) })
	admin, err := plane.Kubeconfig("admin", "system:masters")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(file, admin, 0o600))
	begin(t, "At work", func(ctx context.Context, out io.Writer) error { return joined(ctx, out, file) })
	for _, name := range []string{"node-1", "node-2"} {
		_, err := client.For[*corev1.Node](plane.Client()).Create(t.Context(), node(name))
		require.NoError(t, err)
	}
	use(t, plane.Client(), team)
}

// use does with the example what a user would.
func use(t *testing.T, c *client.Client, team []byte) {
	deployments := client.For[*appsv1.Deployment](c)
	for _, name := range []string{"red", "blue"} {
		_, err := deployments.ApplyBytes(t.Context(), "default", name, bytes.ReplaceAll(team, []byte("red"), []byte(name)), "user")
		require.NoError(t, err)
		until(t, c, placed(name, 3))
	}
	var red, blue string
	until(t, c, func(all map[string]*corev1.Pod) bool {
		red, blue = nodeOf(all, "red"), nodeOf(all, "blue")
		return true
	})
	require.NotEqual(t, red, blue)
	require.ElementsMatch(t, []string{"node-1", "node-2"}, []string{red, blue}, "each team has one node")

	_, err := deployments.ApplyBytes(t.Context(), "default", "green", bytes.ReplaceAll(team, []byte("red"), []byte("green")), "user")
	require.NoError(t, err)
	until(t, c, func(all map[string]*corev1.Pod) bool {
		waiting := 0
		for _, p := range all {
			for _, cond := range p.Status.Conditions {
				if p.Labels["team"] == "green" && cond.Type == corev1.PodScheduled && cond.Status == corev1.ConditionFalse {
					require.Equal(t, "Unschedulable: 0/2 nodes are available: 2 node(s) belonged to another team.", cond.Reason+": "+cond.Message)
					waiting++
				}
			}
		}
		return waiting == 3
	})

	require.NoError(t, deployments.Delete(t.Context(), "default", "red"))
	until(t, c, placed("green", 3))
	until(t, c, func(all map[string]*corev1.Pod) bool { return nodeOf(all, "green") == red })
}

func placed(team string, n int) func(map[string]*corev1.Pod) bool {
	return func(all map[string]*corev1.Pod) bool {
		have := 0
		for _, p := range all {
			if p.Labels["team"] == team && p.Spec.NodeName != "" {
				have++
			}
		}
		return have == n
	}
}

// nodeOf is the node that all pods of a team are on.
func nodeOf(all map[string]*corev1.Pod, team string) (node string) {
	for _, p := range all {
		switch {
		case p.Labels["team"] != team:
		case node != "" && node != p.Spec.NodeName:
			return "several"
		default:
			node = p.Spec.NodeName
		}
	}
	return node
}

// until watches the pods in the namespace default until they are as wished.
func until(t *testing.T, c *client.Client, wish func(map[string]*corev1.Pod) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pods, all := client.For[*corev1.Pod](c), map[string]*corev1.Pod{}
	list, err := pods.List(ctx, client.InNamespace("default"))
	require.NoError(t, err)
	for _, p := range list.Items {
		all[p.Name] = p
	}
	w, err := pods.Watch(ctx, client.InNamespace("default"), client.Since(list.ResourceVersion))
	require.NoError(t, err)
	defer w.Close()
	for !wish(all) {
		e, err := w.Next(ctx)
		require.NoError(t, err, "it never came to what was wished; now: %v", all)
		switch e.Type {
		case client.Added, client.Modified:
			all[e.Object.Name] = e.Object
		case client.Deleted:
			delete(all, e.Object.Name)
		}
	}
}

// begin runs a part of the example until the test ends, and returns when it says word.
func begin(t *testing.T, word string, run func(context.Context, io.Writer) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, in)
		in.Close()
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), word) {
	}
	go io.Copy(io.Discard, out)
}

// connect is a client over HTTPS, of whom a kubeconfig file names.
func connect(t *testing.T, file string) *client.Client {
	t.Helper()
	conn, _, err := kubeconfig.Load(file, "")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	kinds, err := apimachinery.NewRegistry(append(core.Resources(), apps.Resources()...)...)
	require.NoError(t, err)
	return client.New(conn, kinds)
}

func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), asMain+"=1"), t.Output()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "Ready")
	require.FileExists(t, filepath.Join(dir, "scheduler.kubeconfig"))
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	for lines.Scan() {
	}
	require.NoError(t, cmd.Wait(), "it must exit with 0")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}
