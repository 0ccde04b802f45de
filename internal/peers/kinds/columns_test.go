package kinds

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
)

// TestColumns: kubectl get shows the same, under the same names, for the corpus, for objects that differ from it in
// one field, and for pods in random states.
func TestColumns(t *testing.T) {
	k, printer := newKubernetes(), printers.NewTableGenerator().With(printersinternal.AddHandlers)
	for _, p := range pairs() {
		t.Run(p.gvk.Kind, func(t *testing.T) {
			found := newReport()
			objects := p.objects(t)
			m := newMutator(*seed, objects...)
			compare := func(what string, o object) { compareCells(t, k, printer, p, what, o, found) }
			for _, o := range objects {
				compare("corpus: "+o.GetName(), o)
				m.each(o, *oneOf, compare)
			}
			if p.gvk.Kind == "Pod" {
				for i := range 20000 {
					compare(fmt.Sprint("random state ", i), randomState(m.rand))
				}
			}
			found.check(t, p.gvk.Kind, "columns")
		})
	}
}

func compareCells(t *testing.T, k kubernetes, printer *printers.HumanReadableGenerator, p pair, what string, o object, found *report) {
	if p.ours.Default != nil {
		o = sent(o)
		p.ours.Default(o)
	}
	in, err := k.internal(o)
	require.NoError(t, err, what)
	found.compared++
	// Ages are told by the clock: where one lies between the two, the second try is equal.
	for try := range 2 {
		table, panicked, err := printed(printer, in)
		if panicked { // at objects that are never stored, where ours must show something
			for _, c := range p.ours.Views[0].Columns {
				c.Cell(o)
			}
			return
		}
		if err != nil { // kinds without columns of their own
			table, err = convertor(p).ConvertToTable(contextOf(p.ours.Views[0], ""), in, nil)
		}
		require.NoError(t, err, what)
		columns := p.ours.Views[0].Columns
		require.Equal(t, len(columns), len(table.ColumnDefinitions), what)
		var differences []string
		for i, c := range columns {
			d := table.ColumnDefinitions[i]
			d.Description, c.Description = "", ""
			require.Equal(t, d, c.TableColumnDefinition)
			if ours, theirs := fmt.Sprintf("%T %v", c.Cell(o), c.Cell(o)), fmt.Sprintf("%T %v", table.Rows[0].Cells[i], table.Rows[0].Cells[i]); ours != theirs {
				differences = append(differences, fmt.Sprintf("%s: ours %q, theirs %q", c.Name, ours, theirs))
			}
		}
		if try == 1 {
			for _, d := range differences {
				found.add(d, what)
			}
		}
		if len(differences) == 0 {
			return
		}
	}
}

// printed is an object's table, if Kubernetes' printer survives it.
func printed(printer *printers.HumanReadableGenerator, o runtime.Object) (table *metav1.Table, panicked bool, err error) {
	defer func() { panicked = recover() != nil }()
	table, err = printer.GenerateTable(o, printers.GenerateOptions{Wide: true})
	return
}

// randomState makes a pod somewhere in its life, possible or not.
func randomState(r *rand.Rand) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Namespace = "p", "default"
	p.CreationTimestamp = randomTime(r)
	if r.IntN(4) == 0 {
		p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	}
	p.Status.Phase = pick(r, corev1.PodPending, corev1.PodRunning, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed)
	p.Status.Reason = pick(r, "", "", "", "Evicted", "NodeLost")
	for _, c := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodReady, corev1.PodInitialized, "example.com/gate"} {
		if r.IntN(3) == 0 {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
				Type: c, Status: pick(r, corev1.ConditionTrue, corev1.ConditionFalse), Reason: pick(r, "", corev1.PodReasonSchedulingGated),
			})
		}
	}
	if r.IntN(4) == 0 {
		p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/gate"}, {ConditionType: corev1.PodReady}}
	}
	for i := range r.IntN(4) {
		c := corev1.Container{Name: fmt.Sprint("i", i)}
		if r.IntN(3) == 0 {
			always := corev1.ContainerRestartPolicyAlways
			c.RestartPolicy = &always
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
		if r.IntN(5) > 0 {
			p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, randomStatus(r, c.Name))
		}
	}
	for i := range 1 + r.IntN(3) {
		name := fmt.Sprint("c", i)
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name})
		if r.IntN(5) > 0 {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, randomStatus(r, name))
		}
	}
	return p
}

func randomStatus(r *rand.Rand, name string) corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: name, Ready: r.IntN(2) == 0, RestartCount: int32(r.IntN(3))}
	if r.IntN(2) == 0 {
		started := r.IntN(2) == 0
		s.Started = &started
	}
	if r.IntN(3) == 0 {
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{FinishedAt: randomTime(r)}
	}
	switch r.IntN(4) {
	case 0:
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: pick(r, "", "PodInitializing", "CrashLoopBackOff", "ImagePullBackOff")}
	case 1:
		s.State.Running = &corev1.ContainerStateRunning{}
	case 2:
		s.State.Terminated = &corev1.ContainerStateTerminated{
			ExitCode: int32(r.IntN(2)), Signal: int32(r.IntN(2) * 9), Reason: pick(r, "", "Completed", "Error", "OOMKilled"),
		}
	}
	return s
}

func randomTime(r *rand.Rand) metav1.Time {
	if r.IntN(5) == 0 {
		return metav1.Time{}
	}
	return metav1.NewTime(time.Now().Add(-time.Duration(r.Int64N(int64(1000 * time.Hour)))))
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }
