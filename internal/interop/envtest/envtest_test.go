package envtest

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/apitest"
	"github.com/bedplate/bedplate/apimachinery/define"
)

// The types are as kubebuilder makes them.

type GreetingSpec struct {
	Text string `json:"text" schema:"minLength=1,maxLength=20"`
}

type GreetingStatus struct {
	Said bool `json:"said,omitempty"`
}

type Greeting struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   GreetingSpec   `json:"spec"`
	Status GreetingStatus `json:"status,omitempty"`
}

func (g *Greeting) DeepCopyObject() runtime.Object {
	out := *g
	g.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}

type GreetingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Greeting `json:"items"`
}

func (l *GreetingList) DeepCopyObject() runtime.Object {
	out := &GreetingList{TypeMeta: l.TypeMeta}
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopyObject().(*Greeting))
	}
	return out
}

var group = schema.GroupVersion{Group: "interop.example.com", Version: "v1"}

// reconciler says each greeting in a ConfigMap that it owns.
type reconciler struct{ client.Client }

func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	g := &Greeting{}
	if err := r.Get(ctx, req.NamespacedName, g); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, Name: g.Name}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, m, func() error {
		m.Data = map[string]string{"text": g.Spec.Text}
		return controllerutil.SetControllerReference(g, m, r.Scheme())
	})
	if err != nil || g.Status.Said {
		return ctrl.Result{}, err
	}
	g.Status.Said = true
	return ctrl.Result{}, r.Status().Update(ctx, g)
}

// What a suite keeps in variables, and sets up in TestMain.
var (
	cfg       *rest.Config
	k8sClient client.Client
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	kind := define.Kind{Group: group.Group, Version: group.Version, Object: &Greeting{}}.Resource()
	crd, err := define.CRDOf(kind)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// In place of envtest.Environment{CRDs: ...}.Start():
	api, err := apitest.Open(ctx, apitest.Config{CRDs: []*apiext.CustomResourceDefinition{crd}, Controllers: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := api.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	cfg = api.RESTConfig()
	ctrl.SetLogger(logr.Discard())
	if k8sClient, err = client.New(cfg, client.Options{Scheme: newScheme()}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	_ = clientscheme.AddToScheme(s)
	s.AddKnownTypes(group, &Greeting{}, &GreetingList{})
	metav1.AddToGroupVersion(s, group)
	return s
}

var _ apimachinery.Object = (*Greeting)(nil)

func TestSuite(t *testing.T) {
	m, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: newScheme(), Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: new(true)},
	})
	require.NoError(t, err)
	require.NoError(t, ctrl.NewControllerManagedBy(m).For(&Greeting{}).Owns(&corev1.ConfigMap{}).Complete(&reconciler{m.GetClient()}))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})

	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "suite-"}}
	require.NoError(t, k8sClient.Create(ctx, ns))
	bad := &Greeting{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "bad"}}
	require.True(t, apierrors.IsInvalid(k8sClient.Create(ctx, bad)), "the definition's schema holds")

	g := &Greeting{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "hello"}, Spec: GreetingSpec{Text: "hello"}}
	require.NoError(t, k8sClient.Create(ctx, g))
	key, said := client.ObjectKeyFromObject(g), &corev1.ConfigMap{}
	eventually := func(what string, done func() bool) {
		require.Eventually(t, done, 30*time.Second, 5*time.Millisecond, what)
	}
	eventually("it is said", func() bool { return k8sClient.Get(ctx, key, said) == nil && said.Data["text"] == "hello" })
	eventually("its status", func() bool { return k8sClient.Get(ctx, key, g) == nil && g.Status.Said })
	require.NoError(t, k8sClient.Delete(ctx, said))
	eventually("it is said again", func() bool { return k8sClient.Get(ctx, key, said) == nil && said.DeletionTimestamp == nil })
	require.NoError(t, k8sClient.Delete(ctx, g))
	eventually("the dependent is collected", func() bool { return apierrors.IsNotFound(k8sClient.Get(ctx, key, said)) })
	require.NoError(t, k8sClient.Delete(ctx, ns))
	eventually("the namespace ends", func() bool {
		return apierrors.IsNotFound(k8sClient.Get(ctx, client.ObjectKeyFromObject(ns), ns))
	})
}
