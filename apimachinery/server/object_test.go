package server_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
)

func TestObjectLives(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		made := must[corev1.ConfigMap](t, d, create(configMaps, configMap("a", map[string]string{"k": "<v>"})))
		require.Equal(t, "default", made.Namespace)
		require.NotEmpty(t, made.UID)
		require.NotEmpty(t, made.ResourceVersion)
		require.False(t, made.CreationTimestamp.IsZero())
		require.Equal(t, "ConfigMap", made.Kind)
		require.Len(t, made.ManagedFields, 1)

		got := must[corev1.ConfigMap](t, d, get(configMaps, "a"))
		require.Equal(t, made, got)

		got.Data["k"] = "w"
		changed := must[corev1.ConfigMap](t, d, update(configMaps, got))
		require.Equal(t, "w", changed.Data["k"])
		require.NotEqual(t, made.ResourceVersion, changed.ResourceVersion)
		require.Equal(t, made.UID, changed.UID)
		require.Equal(t, made.ManagedFields, changed.ManagedFields, "the same manager has the same field")

		_, _, err := do(t, d, update(configMaps, got))
		require.True(t, apierrors.IsConflict(err), "%v", err)
		require.EqualError(t, err, `Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again`)

		same := must[corev1.ConfigMap](t, d, update(configMaps, changed))
		require.Equal(t, changed, same, "a write that changes nothing leaves the revision")

		unconditional := configMap("a", map[string]string{"k": "x"})
		x := must[corev1.ConfigMap](t, d, update(configMaps, unconditional))
		require.Equal(t, "x", x.Data["k"])

		status := must[metav1.Status](t, d, remove(configMaps, "a", nil))
		require.Equal(t, metav1.StatusSuccess, status.Status)
		require.Equal(t, &metav1.StatusDetails{Name: "a", Kind: "configmaps", UID: made.UID}, status.Details)
		for _, r := range []*apimachinery.Request{get(configMaps, "a"), remove(configMaps, "a", nil), update(configMaps, unconditional)} {
			_, _, err = do(t, d, r)
			require.True(t, apierrors.IsNotFound(err), "%v", err)
			require.EqualError(t, err, `configmaps "a" not found`)
		}
	})
}

func TestCreateRefuses(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		must[corev1.ConfigMap](t, d, create(configMaps, configMap("there", nil)))
		body := func(s string) *apimachinery.Request {
			return &apimachinery.Request{Verb: "create", Resource: configMaps, Namespace: "default", Body: []byte(s)}
		}
		strict := func(r *apimachinery.Request) *apimachinery.Request {
			r.Options = &metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}
			return r
		}
		for name, c := range map[string]struct {
			r      *apimachinery.Request
			reason metav1.StatusReason
			code   int
			says   string
		}{
			"exists":          {create(configMaps, configMap("there", nil)), metav1.StatusReasonAlreadyExists, 409, `configmaps "there" already exists`},
			"no name":         {create(configMaps, configMap("", nil)), metav1.StatusReasonInvalid, 422, `ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required`},
			"bad name":        {create(configMaps, configMap("A_b", nil)), metav1.StatusReasonInvalid, 422, `ConfigMap "A_b" is invalid: metadata.name: Invalid value: "A_b"`},
			"dots":            {create(configMaps, configMap("..", nil)), metav1.StatusReasonInvalid, 422, `metadata.name: Invalid value: ".."`},
			"slash":           {create(configMaps, configMap("a/b", nil)), metav1.StatusReasonInvalid, 422, `metadata.name: Invalid value: "a/b"`},
			"percent":         {create(configMaps, configMap("a%2Fb", nil)), metav1.StatusReasonInvalid, 422, `metadata.name: Invalid value: "a%2Fb"`},
			"bad label":       {body(`{"metadata":{"name":"x","labels":{"a b":"c"}}}`), metav1.StatusReasonInvalid, 422, `metadata.labels: Invalid value: "a b"`},
			"other namespace": {body(`{"metadata":{"name":"x","namespace":"other"}}`), metav1.StatusReasonBadRequest, 400, "the namespace of the provided object does not match the namespace sent on the request"},
			"not JSON":        {body(`{`), metav1.StatusReasonBadRequest, 400, `ConfigMap in version "v1" cannot be handled as a ConfigMap`},
			"empty":           {body(``), metav1.StatusReasonBadRequest, 400, "empty"},
			"wrong type":      {body(`{"metadata":{"name":"x"},"data":[]}`), metav1.StatusReasonBadRequest, 400, "cannot unmarshal array"},
			"other version":   {body(`{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"x"}}`), metav1.StatusReasonBadRequest, 400, "the API version in the data (v2) does not match the expected API version (v1)"},
			"other kind":      {body(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}`), metav1.StatusReasonBadRequest, 400, `Secret in version "v1" cannot be handled as a ConfigMap`},
			"unknown field":   {strict(body(`{"metadata":{"name":"x"},"spec":{}}`)), metav1.StatusReasonBadRequest, 400, `ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "spec"`},
			"doubled field":   {strict(body(`{"metadata":{"name":"x","name":"y"}}`)), metav1.StatusReasonBadRequest, 400, `strict decoding error: duplicate field "metadata.name"`},
			"revision":        {body(`{"metadata":{"name":"x","resourceVersion":"7"}}`), metav1.StatusReasonBadRequest, 400, "resourceVersion should not be set on objects to be created"},
			"own validation":  {create(databases, &database{ObjectMeta: metav1.ObjectMeta{Name: "x"}}), metav1.StatusReasonInvalid, 422, `Database.db.example.com "x" is invalid: spec.engine: Required value: name the engine`},
			"dry run":         {&apimachinery.Request{Verb: "create", Resource: configMaps, Namespace: "default", Object: configMap("x", nil), Options: &metav1.CreateOptions{DryRun: []string{"Some"}}}, metav1.StatusReasonInvalid, 422, `CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value`},
		} {
			t.Run(name, func(t *testing.T) {
				_, _, err := do(t, d, c.r)
				require.Error(t, err)
				require.Equal(t, c.reason, apierrors.ReasonForError(err), "%v", err)
				require.ErrorContains(t, err, c.says)
				var status apierrors.APIStatus
				require.ErrorAs(t, err, &status)
				require.EqualValues(t, c.code, status.Status().Code)
			})
		}
		all := must[corev1.ConfigMapList](t, d, list(configMaps, metav1.ListOptions{}))
		require.Len(t, all.Items, 1, "nothing was stored")
	})
}

func TestFieldValidation(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		for mode, warnings := range map[string]int{"": 1, "Warn": 1, "Ignore": 0} {
			_, resp, err := do(t, d, &apimachinery.Request{
				Verb: "create", Resource: configMaps, Namespace: "default", ContentType: apimachinery.YAML,
				Body:    []byte("metadata: {name: x" + strings.ToLower(mode) + "}\nfoo: bar\n"),
				Options: &metav1.CreateOptions{FieldValidation: mode},
			})
			require.NoError(t, err)
			require.Len(t, resp.Warnings, warnings, mode)
			if warnings > 0 {
				require.Equal(t, `unknown field "foo"`, resp.Warnings[0])
			}
		}
	})
}

func TestGenerateName(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		seen := map[string]bool{}
		for range 20 {
			o := must[corev1.ConfigMap](t, d, create(configMaps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: strings.Repeat("a", 70)}}))
			require.Len(t, o.Name, 63)
			require.False(t, seen[o.Name])
			seen[o.Name] = true
		}
	})
}

func TestUpdateRules(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		made := must[database](t, d, create(databases, newDatabase("a")))
		require.EqualValues(t, 1, *made.Spec.Replicas, "defaulted")
		require.EqualValues(t, 1, made.Generation)

		two := int32(2)
		made.Spec.Replicas = &two
		made.Status.Ready = true
		changed := must[database](t, d, update(databases, made))
		require.EqualValues(t, 2, changed.Generation)
		require.False(t, changed.Status.Ready, "status is not written with the object")

		changed.Status.Ready = true
		changed.Spec.Host = "elsewhere"
		r := update(databases, changed)
		r.Sub = "status"
		ready := must[database](t, d, r)
		require.True(t, ready.Status.Ready)
		require.Empty(t, ready.Spec.Host, "spec is not written with the status")
		require.EqualValues(t, 2, ready.Generation)
		require.Len(t, ready.ManagedFields, 2)
		require.Equal(t, "status", ready.ManagedFields[1].Subresource)

		for name, c := range map[string]struct {
			change func(*database)
			check  func(error) bool
			says   string
		}{
			"immutable": {func(o *database) { o.Spec.Engine = "my" }, apierrors.IsInvalid, `spec.engine: Invalid value: "my": field is immutable`},
			"uid":       {func(o *database) { o.UID = "other" }, apierrors.IsConflict, "Precondition failed: UID in precondition: other, UID in object meta: " + string(made.UID)},
			"name":      {func(o *database) { o.Name = "b" }, apierrors.IsBadRequest, "the name of the object (b) does not match the name on the URL (a)"},
			"namespace": {func(o *database) { o.Namespace = "b" }, apierrors.IsBadRequest, "namespace"},
		} {
			o := ready.DeepCopy()
			c.change(o)
			r := update(databases, o)
			r.Name = "a"
			_, _, err := do(t, d, r)
			require.True(t, c.check(err), "%s: %v", name, err)
			require.ErrorContains(t, err, c.says)
		}

		o := ready.DeepCopy()
		now := metav1.Now()
		o.CreationTimestamp, o.Generation, o.DeletionTimestamp = metav1.Time{}, 99, nil
		_ = now
		kept := must[database](t, d, update(databases, o))
		require.Equal(t, ready.CreationTimestamp, kept.CreationTimestamp)
		require.EqualValues(t, 2, kept.Generation)
	})
}

func TestUpsert(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		l := &lease{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: leaseSpec{Holder: "x"}}
		_, resp, err := do(t, d, update(leases, l))
		require.NoError(t, err)
		require.Equal(t, 201, resp.Code)
		_, resp, err = do(t, d, update(leases, l))
		require.NoError(t, err)
		require.Equal(t, 200, resp.Code)
	})
}

func TestDeletion(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		placed := newDatabase("placed")
		placed.Spec.Host = "n1"
		made := must[database](t, d, create(databases, placed))

		uid, version := types.UID("other"), "1"
		_, _, err := do(t, d, remove(databases, "placed", &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}))
		require.True(t, apierrors.IsConflict(err))
		_, _, err = do(t, d, remove(databases, "placed", &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}}))
		require.True(t, apierrors.IsConflict(err))

		ending := must[database](t, d, remove(databases, "placed", nil))
		require.NotNil(t, ending.DeletionTimestamp)
		require.EqualValues(t, 30, *ending.DeletionGracePeriodSeconds)
		require.EqualValues(t, 2, ending.Generation)
		again := must[database](t, d, remove(databases, "placed", nil))
		require.Equal(t, ending.ResourceVersion, again.ResourceVersion, "it is ending already")

		five := int64(5)
		shorter := must[database](t, d, remove(databases, "placed", &metav1.DeleteOptions{GracePeriodSeconds: &five}))
		require.EqualValues(t, 5, *shorter.DeletionGracePeriodSeconds)

		_, _, err = do(t, d, create(databases, placed))
		require.True(t, apierrors.IsAlreadyExists(err))
		require.EqualError(t, err, `object is being deleted: databases.db.example.com "placed" already exists`)

		shorter.Finalizers = []string{"example.com/late"}
		_, _, err = do(t, d, update(databases, shorter))
		require.True(t, apierrors.IsInvalid(err), "%v", err)
		require.ErrorContains(t, err, "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted")

		none := int64(0)
		gone := must[metav1.Status](t, d, remove(databases, "placed", &metav1.DeleteOptions{GracePeriodSeconds: &none}))
		require.Equal(t, made.UID, gone.Details.UID)
	})
}

func TestFinalizers(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		c := configMap("a", nil)
		c.Finalizers = []string{"example.com/hold"}
		must[corev1.ConfigMap](t, d, create(configMaps, c))
		held := must[corev1.ConfigMap](t, d, remove(configMaps, "a", nil))
		require.NotNil(t, held.DeletionTimestamp)
		require.EqualValues(t, 0, *held.DeletionGracePeriodSeconds)
		held.Finalizers = nil
		held.DeletionTimestamp = nil
		must[corev1.ConfigMap](t, d, update(configMaps, held))
		_, _, err := do(t, d, get(configMaps, "a"))
		require.True(t, apierrors.IsNotFound(err))

		for policy, finalizer := range map[metav1.DeletionPropagation]string{
			metav1.DeletePropagationOrphan: "orphan", metav1.DeletePropagationForeground: "foregroundDeletion",
		} {
			name := strings.ToLower(string(policy))
			must[corev1.ConfigMap](t, d, create(configMaps, configMap(name, nil)))
			o := must[corev1.ConfigMap](t, d, remove(configMaps, name, &metav1.DeleteOptions{PropagationPolicy: &policy}))
			require.Equal(t, []string{finalizer}, o.Finalizers)
			require.NotNil(t, o.DeletionTimestamp)
		}
	})
}

func TestDryRun(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		dry := []string{metav1.DryRunAll}
		r := create(configMaps, configMap("a", nil))
		r.Options = &metav1.CreateOptions{DryRun: dry}
		o := must[corev1.ConfigMap](t, d, r)
		require.NotEmpty(t, o.UID)
		require.Empty(t, o.ResourceVersion)
		_, _, err := do(t, d, get(configMaps, "a"))
		require.True(t, apierrors.IsNotFound(err))

		made := must[corev1.ConfigMap](t, d, create(configMaps, configMap("a", nil)))
		_, _, err = do(t, d, r)
		require.True(t, apierrors.IsAlreadyExists(err))
		u := update(configMaps, configMap("a", map[string]string{"k": "v"}))
		u.Options = &metav1.UpdateOptions{DryRun: dry}
		require.Equal(t, "v", must[corev1.ConfigMap](t, d, u).Data["k"])
		must[metav1.Status](t, d, remove(configMaps, "a", &metav1.DeleteOptions{DryRun: dry}))
		require.Equal(t, made, must[corev1.ConfigMap](t, d, get(configMaps, "a")))
	})
}

func TestDeleteCollection(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		for i := range 6 {
			c := configMap("c"+strconv.Itoa(i), nil)
			c.Labels = map[string]string{"odd": strconv.FormatBool(i%2 == 1)}
			must[corev1.ConfigMap](t, d, create(configMaps, c))
		}
		gone := must[corev1.ConfigMapList](t, d, &apimachinery.Request{
			Verb: "deletecollection", Resource: configMaps, Namespace: "default", Options: &metav1.ListOptions{LabelSelector: "odd=true"},
		})
		require.Len(t, gone.Items, 3)
		left := must[metav1.PartialObjectMetadataList](t, d, list(configMaps, metav1.ListOptions{}))
		require.Equal(t, []string{"c0", "c2", "c4"}, names(left))
	})
}
