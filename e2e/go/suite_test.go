// Package e2e runs what an existing controller-runtime project runs: an envtest environment, a manager with a
// reconciler, and client-go informers, against the binaries that KUBEBUILDER_ASSETS names.
package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

var config *rest.Config

func TestMain(m *testing.M) {
	log.SetLogger(zap.New(zap.UseDevMode(true), zap.WriteTo(os.Stderr)))
	widgets := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.e2e.hopyard.dev"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "e2e.hopyard.dev",
			Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object",
					Properties: map[string]apiextensionsv1.JSONSchemaProps{
						"spec":   {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"size": {Type: "integer"}}},
						"status": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"ready": {Type: "boolean"}}},
					},
				}},
			}},
		},
	}
	environment := &envtest.Environment{CRDs: []*apiextensionsv1.CustomResourceDefinition{widgets}}
	started := time.Now()
	var err error
	if config, err = environment.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "the environment did not start:", err)
		os.Exit(1)
	}
	fmt.Println("environment ready after", time.Since(started).Round(time.Millisecond))
	code := m.Run()
	if err := environment.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "the environment did not stop:", err)
		code = 1
	}
	os.Exit(code)
}

// eventually waits on a condition; the deadline only bounds a failure.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come true", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

var widgetKind = schema.GroupVersionKind{Group: "e2e.hopyard.dev", Version: "v1", Kind: "Widget"}

type widgetReconciler struct{ client.Client }

func (r *widgetReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	widget := &unstructured.Unstructured{}
	widget.SetGroupVersionKind(widgetKind)
	if err := r.Get(ctx, request.NamespacedName, widget); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	const finalizer = "e2e.hopyard.dev/widget"
	if !widget.GetDeletionTimestamp().IsZero() {
		if controllerutil.RemoveFinalizer(widget, finalizer) {
			return ctrl.Result{}, r.Update(ctx, widget)
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(widget, finalizer) {
		return ctrl.Result{}, r.Update(ctx, widget)
	}
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: widget.GetName(), Namespace: widget.GetNamespace()}}
	size, _, _ := unstructured.NestedInt64(widget.Object, "spec", "size")
	if _, err := controllerutil.CreateOrUpdate(ctx, r.Client, owned, func() error {
		owned.Data = map[string]string{"size": fmt.Sprint(size)}
		return controllerutil.SetControllerReference(widget, owned, r.Scheme())
	}); err != nil {
		return ctrl.Result{}, err
	}
	if ready, _, _ := unstructured.NestedBool(widget.Object, "status", "ready"); ready {
		return ctrl.Result{}, nil
	}
	if err := unstructured.SetNestedField(widget.Object, true, "status", "ready"); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.Status().Update(ctx, widget)
}

func TestAReconcilerConverges(t *testing.T) {
	manager, err := ctrl.NewManager(config, ctrl.Options{Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	watched := &unstructured.Unstructured{}
	watched.SetGroupVersionKind(widgetKind)
	if err := ctrl.NewControllerManagedBy(manager).For(watched).Owns(&corev1.ConfigMap{}).
		Complete(&widgetReconciler{manager.GetClient()}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error("the manager ended with", err)
		}
	})

	direct, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	widget := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"size": int64(3)}}}
	widget.SetGroupVersionKind(widgetKind)
	widget.SetName("w")
	widget.SetNamespace("default")
	if err := direct.Create(ctx, widget); err != nil {
		t.Fatal(err)
	}
	key := client.ObjectKeyFromObject(widget)
	eventually(t, "the widget is ready and its ConfigMap there", func() bool {
		owned := &corev1.ConfigMap{}
		ready := false
		if direct.Get(ctx, key, widget) == nil {
			ready, _, _ = unstructured.NestedBool(widget.Object, "status", "ready")
		}
		return ready && direct.Get(ctx, key, owned) == nil && owned.Data["size"] == "3"
	})
	if err := direct.Patch(ctx, widget, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"size":5}}`))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the ConfigMap follows", func() bool {
		owned := &corev1.ConfigMap{}
		return direct.Get(ctx, key, owned) == nil && owned.Data["size"] == "5"
	})
	if err := direct.Delete(ctx, widget); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the finalizer lets the widget go", func() bool {
		return client.IgnoreNotFound(direct.Get(ctx, key, widget)) == nil && direct.Get(ctx, key, widget) != nil
	})
}

func TestInformersSeeEveryChangeOnce(t *testing.T) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	const objects = 50
	factory := informers.NewSharedInformerFactoryWithOptions(clients, 0, informers.WithNamespace("default"))
	informer := factory.Core().V1().Secrets().Informer()
	added, updated, deleted := make(chan string, objects), make(chan string, objects), make(chan string, objects)
	name := func(object any) string { return object.(*corev1.Secret).Name }
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { added <- name(object) },
		UpdateFunc: func(_, object any) { updated <- name(object) },
		DeleteFunc: func(object any) { deleted <- name(object) },
	}); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	secrets := clients.CoreV1().Secrets("default")
	for i := range objects {
		secret := applycorev1.Secret(fmt.Sprintf("s-%d", i), "default").WithStringData(map[string]string{"k": "v"})
		if _, err := secrets.Apply(ctx, secret, metav1.ApplyOptions{FieldManager: "e2e"}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range objects {
		patch := []byte(`{"metadata":{"labels":{"seen":"yes"}}}`)
		if _, err := secrets.Patch(ctx, fmt.Sprintf("s-%d", i), "application/strategic-merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := secrets.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "seen=yes"}); err != nil {
		t.Fatal(err)
	}
	for what, events := range map[string]chan string{"added": added, "updated": updated, "deleted": deleted} {
		seen := map[string]bool{}
		for range objects {
			select {
			case one := <-events:
				if seen[one] {
					t.Fatalf("%s was %s twice", one, what)
				}
				seen[one] = true
			case <-time.After(20 * time.Second):
				t.Fatalf("%d of %d were %s", len(seen), objects, what)
			}
		}
	}
}
