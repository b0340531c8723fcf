package e2e

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// protobufOnly accepts nothing but protobuf: what the server would answer in JSON fails.
func protobufOnly() *rest.Config {
	only := rest.CopyConfig(config)
	only.ContentType = runtime.ContentTypeProtobuf
	only.AcceptContentTypes = runtime.ContentTypeProtobuf
	return only
}

// resource is what a typed client of client-go can do.
type resource[T any, L any] interface {
	Create(context.Context, *T, metav1.CreateOptions) (*T, error)
	Update(context.Context, *T, metav1.UpdateOptions) (*T, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
	Get(context.Context, string, metav1.GetOptions) (*T, error)
	List(context.Context, metav1.ListOptions) (*L, error)
	Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (*T, error)
}

// everyVerb takes an object through its life while an informer looks on.
func everyVerb[T any, L any](t *testing.T, clients resource[T, L], informer cache.SharedIndexInformer, object *T, meta func(*T) *metav1.ObjectMeta, count func(*L) int) {
	t.Helper()
	ctx := context.Background()
	created, err := clients.Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name, version := meta(created).Name, meta(created).ResourceVersion
	seen := func(what string, condition func(*metav1.ObjectMeta) bool) {
		t.Helper()
		eventually(t, what, func() bool {
			found, exists, err := informer.GetStore().GetByKey("default/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if !exists {
				return condition(nil)
			}
			return condition(meta(found.(*T)))
		})
	}
	seen("the informer sees it", func(m *metav1.ObjectMeta) bool { return m != nil && m.UID == meta(created).UID })
	meta(created).Labels = map[string]string{"updated": "yes"}
	updated, err := clients.Update(ctx, created, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if meta(updated).ResourceVersion == version || len(meta(updated).ManagedFields) == 0 {
		t.Fatalf("no update: %+v", meta(updated))
	}
	patch := []byte(`{"metadata":{"annotations":{"patched":"yes"}}}`)
	if _, err := clients.Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	seen("the informer sees both changes", func(m *metav1.ObjectMeta) bool {
		return m != nil && m.Labels["updated"] == "yes" && m.Annotations["patched"] == "yes"
	})
	list, err := clients.List(ctx, metav1.ListOptions{LabelSelector: "updated=yes"})
	if err != nil {
		t.Fatal(err)
	}
	if count(list) != 1 {
		t.Fatalf("%d objects are listed", count(list))
	}
	zero := int64(0)
	if err := clients.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	seen("the informer sees the end", func(m *metav1.ObjectMeta) bool { return m == nil })
	if _, err := clients.Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatal("an error that is no Status:", err)
	}
}

func TestTypedClientsInProtobuf(t *testing.T) {
	clients, err := kubernetes.NewForConfig(protobufOnly())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	factory := informers.NewSharedInformerFactoryWithOptions(clients, 0, informers.WithNamespace("default"))
	pods, services := factory.Core().V1().Pods().Informer(), factory.Core().V1().Services().Informer()
	events, deployments := factory.Core().V1().Events().Informer(), factory.Apps().V1().Deployments().Informer()
	leases := factory.Coordination().V1().Leases().Informer()
	factory.Start(ctx.Done())
	synced, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	for kind, done := range factory.WaitForCacheSync(synced.Done()) {
		if !done {
			t.Fatal("no cache of", kind)
		}
	}
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: "default"} }
	labels := map[string]string{"app": "web"}
	spec := corev1.PodSpec{SchedulerName: "nobody", Containers: []corev1.Container{{
		Name: "c", Image: "nginx",
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("http")}}},
	}}}
	everyVerb(t, clients.CoreV1().Pods("default"), pods,
		&corev1.Pod{ObjectMeta: named("proto"), Spec: spec},
		func(o *corev1.Pod) *metav1.ObjectMeta { return &o.ObjectMeta }, func(l *corev1.PodList) int { return len(l.Items) })
	everyVerb(t, clients.CoreV1().Services("default"), services,
		&corev1.Service{ObjectMeta: named("proto"), Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}}},
		func(o *corev1.Service) *metav1.ObjectMeta { return &o.ObjectMeta }, func(l *corev1.ServiceList) int { return len(l.Items) })
	everyVerb(t, clients.AppsV1().Deployments("default"), deployments,
		&appsv1.Deployment{ObjectMeta: named("proto"), Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		}},
		func(o *appsv1.Deployment) *metav1.ObjectMeta { return &o.ObjectMeta }, func(l *appsv1.DeploymentList) int { return len(l.Items) })
	now := metav1.NewMicroTime(time.Now())
	everyVerb(t, clients.CoordinationV1().Leases("default"), leases,
		&coordinationv1.Lease{ObjectMeta: named("proto"), Spec: coordinationv1.LeaseSpec{RenewTime: &now}},
		func(o *coordinationv1.Lease) *metav1.ObjectMeta { return &o.ObjectMeta }, func(l *coordinationv1.LeaseList) int { return len(l.Items) })
	everyVerb(t, clients.CoreV1().Events("default"), events,
		&corev1.Event{ObjectMeta: named("proto"), InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p", Namespace: "default"}, Reason: "Test"},
		func(o *corev1.Event) *metav1.ObjectMeta { return &o.ObjectMeta }, func(l *corev1.EventList) int { return len(l.Items) })

	scale, err := clients.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{ObjectMeta: named("scaled"), Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	now0, err := clients.AppsV1().Deployments("default").GetScale(ctx, scale.Name, metav1.GetOptions{})
	if err != nil || now0.Spec.Replicas != 1 {
		t.Fatal(now0, err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: named("proto")}
	if _, err := clients.CoreV1().ServiceAccounts("default").Create(ctx, account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := clients.CoreV1().ServiceAccounts("default").CreateToken(ctx, "proto", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil || token.Status.Token == "" || token.Status.ExpirationTimestamp.IsZero() {
		t.Fatal(token, err)
	}
	review, err := clients.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods"}},
	}, metav1.CreateOptions{})
	if err != nil || !review.Status.Allowed {
		t.Fatal(review, err)
	}
	if _, err := clients.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: named("evicted"), Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := clients.CoreV1().Pods("default").EvictV1(ctx, &policyv1.Eviction{ObjectMeta: named("evicted")}); err != nil {
		t.Fatal(err)
	}
	if err := clients.CoreV1().Pods("default").DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if groups, err := clients.Discovery().ServerGroups(); err != nil || len(groups.Groups) < 10 {
		t.Fatal(groups, err)
	}
}

func TestMetadataClientsInProtobuf(t *testing.T) {
	clients, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	widgets := widgetKind.GroupVersion().WithResource("widgets")
	maps := corev1.SchemeGroupVersion.WithResource("configmaps")
	factory := metadatainformer.NewFilteredSharedInformerFactory(clients, 0, "default", nil)
	builtin, custom := factory.ForResource(maps).Informer(), factory.ForResource(widgets).Informer()
	factory.Start(ctx.Done())
	synced, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	for kind, done := range factory.WaitForCacheSync(synced.Done()) {
		if !done {
			t.Fatal("no cache of", kind)
		}
	}
	typed, err := kubernetes.NewForConfig(protobufOnly())
	if err != nil {
		t.Fatal(err)
	}
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "meta", Labels: map[string]string{"a": "b"}}, BinaryData: map[string][]byte{"k": {0, 255}}}
	if made, err = typed.CoreV1().ConfigMaps("default").Create(ctx, made, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := made.BinaryData["k"]; len(got) != 2 || got[1] != 255 {
		t.Fatal("bytes came back as", got)
	}
	eventually(t, "the metadata is seen", func() bool {
		found, exists, _ := builtin.GetStore().GetByKey("default/meta")
		return exists && found.(*metav1.PartialObjectMetadata).Labels["a"] == "b"
	})
	if got, err := clients.Resource(maps).Namespace("default").Get(ctx, "meta", metav1.GetOptions{}); err != nil || got.UID != made.UID {
		t.Fatal(got, err)
	}
	if _, err := clients.Resource(widgets).Namespace("default").List(ctx, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(custom.GetStore().List()) != 0 {
		t.Fatal("widgets are left over")
	}
	if err := clients.Resource(maps).Namespace("default").Delete(ctx, "meta", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end is seen", func() bool {
		_, exists, _ := builtin.GetStore().GetByKey("default/meta")
		return !exists
	})
}
