package informer_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/reconcile/informer"
)

func Example() {
	t := clienttest.NoTest()
	defer t.End()
	env := clienttest.Start(t, clienttest.Config{Resources: []apimachinery.Resource{core.ConfigMaps()}})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	maps := client.For[*corev1.ConfigMap](env.Client)
	i, err := informer.New(maps, informer.Config[*corev1.ConfigMap]{})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- i.Run(ctx) }()

	cm, _ := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "colours"}})
	_ = i.WaitFor(ctx, informer.RevOf(cm.ResourceVersion))
	got, ok := i.Get("default/colours")
	fmt.Println(got.Name, ok)
	cancel()
	fmt.Println(<-done)
	// Output:
	// colours true
	// <nil>
}

// BenchmarkView measures reads of a cache of 20,000 objects.
func BenchmarkView(b *testing.B) {
	env := clienttest.Start(b, clienttest.Config{Resources: []apimachinery.Resource{clienttest.Widgets()}})
	for n := range 20_000 {
		create(b, env, widget("a", fmt.Sprint("w", n), n))
	}
	i := implementations["view"](b, env)
	run(b, i)
	<-i.Synced()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, ok := i.View(fmt.Sprint("a/w", n%20_000)); !ok {
			b.Fatal("not there")
		}
		n++
	}
}
