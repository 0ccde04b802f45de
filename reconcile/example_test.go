package reconcile_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/reconcile"
)

// Example is an operator: for each Widget it keeps a ConfigMap that says its size.
func Example() {
	t := clienttest.NoTest()
	defer t.End()
	env := start(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	mgr, err := reconcile.New(reconcile.Config{Client: env.Client, Name: "widget-operator"})
	if err != nil {
		fmt.Println(err)
		return
	}
	maps := client.For[*corev1.ConfigMap](mgr.Client())
	done := make(chan string, 10)
	err = reconcile.Add(mgr, reconcile.Controller[*Widget]{
		Reconcile: func(ctx context.Context, w *Widget) (reconcile.Result, error) {
			cm := &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name},
				Data:       map[string]string{"size": fmt.Sprint(w.Spec.Size)},
			}
			if err := reconcile.Own(w, cm); err != nil {
				return reconcile.Result{}, err
			}
			cm, err := maps.Apply(ctx, cm, "widget-operator", client.Force())
			if err == nil {
				done <- cm.Name + " has size " + cm.Data["size"]
			}
			return reconcile.Result{}, err
		},
		Watches: []reconcile.Watch{reconcile.Owns[*corev1.ConfigMap]()},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- mgr.Run(ctx) }()
	_, _ = client.For[*Widget](env.Client).Create(ctx, widget("one", 3))
	fmt.Println(<-done)
	cancel()
	fmt.Println(<-ended)
	// Output:
	// one has size 3
	// <nil>
}
