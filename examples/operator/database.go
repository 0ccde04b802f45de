package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
)

// Database is a kind made of two parts: what a user wishes, and what the controller has to say of it.
type (
	Database     = apimachinery.Typed[DatabaseSpec, DatabaseStatus]
	DatabaseSpec struct {
		Version  string `json:"version,omitempty"`
		MemoryMB int32  `json:"memoryMB,omitempty"`
	}
	DatabaseStatus struct {
		ObservedGeneration int64 `json:"observedGeneration,omitempty"`
		Ready              bool  `json:"ready"`
	}
)

// Databases declares the kind, to servers and clients alike.
func Databases() apimachinery.Resource {
	r := apimachinery.Define[DatabaseSpec, DatabaseStatus](
		schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Database"}, "databases")
	r.Views[0].Short = []string{"db"}
	return r
}

// Default fills in what was left out.
func (s *DatabaseSpec) Default() {
	s.Version, s.MemoryMB = cmp.Or(s.Version, "8.1"), cmp.Or(s.MemoryMB, 64)
}

// Validate says what is wrong: it is then refused, and nothing is stored.
func (s *DatabaseSpec) Validate(path *field.Path) field.ErrorList {
	if s.MemoryMB < 16 || s.MemoryMB > 65536 {
		return field.ErrorList{field.Invalid(path.Child("memoryMB"), s.MemoryMB, "must be between 16 and 65536")}
	}
	return nil
}

// operate runs the controller until ctx ends.
func operate(ctx context.Context, c *client.Client) error {
	mgr, err := reconcile.New(reconcile.Config{Client: c, Name: "database-operator", Log: slog.Default()})
	if err != nil {
		return err
	}
	err = reconcile.Add(mgr, reconcile.Controller[*Database]{
		Reconcile: func(ctx context.Context, db *Database) (reconcile.Result, error) {
			return reconcile.Result{}, sync(ctx, c, db)
		},
		Watches: []reconcile.Watch{reconcile.Owns[*corev1.ConfigMap](), reconcile.Owns[*appsv1.Deployment]()},
	})
	if err != nil {
		return err
	}
	return mgr.Run(ctx)
}

// sync makes the world what db says, whatever has changed, and writes back how it stands. There is nothing to do
// about a deletion: what db owns goes with it.
func sync(ctx context.Context, c *client.Client, db *Database) error {
	if db.DeletionTimestamp != nil {
		return nil
	}
	config, deployment := children(db)
	if _, err := reconcile.Apply(ctx, c, db, config, "database-operator"); err != nil {
		return err
	}
	deployment, err := reconcile.Apply(ctx, c, db, deployment, "database-operator")
	if err != nil {
		return err
	}
	now := DatabaseStatus{ObservedGeneration: db.Generation, Ready: deployment.Status.AvailableReplicas > 0}
	if db.Status == now {
		return nil
	}
	db.Status = now
	_, err = client.For[*Database](c).UpdateStatus(ctx, db)
	return err
}

// children are what a Database is made of.
func children(db *Database) (*corev1.ConfigMap, *appsv1.Deployment) {
	meta := metav1.ObjectMeta{Namespace: db.Namespace, Name: db.Name}
	flags := fmt.Sprintf("--maxmemory %dmb", db.Spec.MemoryMB)
	labels := map[string]string{"example.com/database": string(db.UID)}
	template := corev1.PodTemplateSpec{
		// The annotation changes with the ConfigMap, so that the pod is replaced.
		ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{"example.com/flags": flags}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "valkey", Image: "valkey/valkey:" + db.Spec.Version,
			EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: db.Name},
			}}},
		}}},
	}
	return &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"VALKEY_EXTRA_FLAGS": flags}},
		&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template,
		}}
}
