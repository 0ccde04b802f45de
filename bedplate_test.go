package bedplate_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
)

func Example() {
	ctx := context.Background()
	plane, err := bedplate.Start(ctx, bedplate.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer plane.Stop()
	maps := client.For[*corev1.ConfigMap](plane.Client())
	made, err := maps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "greeting"},
		Data:       map[string]string{"hello": "world"},
	})
	fmt.Println(made.Data["hello"], err)
	// Output: world <nil>
}

func TestStages(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		begin := time.Now()
		p, err := bedplate.Start(t.Context(), bedplate.Config{Dir: dir, Stage: func(name string, took time.Duration) { t.Log(name, took) }})
		require.NoError(t, err)
		t.Log("ready", time.Since(begin))
		begin = time.Now()
		require.NoError(t, p.Stop())
		t.Log("stopped", time.Since(begin))
	}
}
