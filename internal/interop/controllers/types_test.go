package controllers

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/conversion"
)

var (
	v1 = schema.GroupVersion{Group: "interop.example.com", Version: "v1"}
	v2 = schema.GroupVersion{Group: "interop.example.com", Version: "v2"}
)

// Widget is the operator's kind, in the version that is stored.
type Widget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              WidgetSpec   `json:"spec,omitempty"`
	Status            WidgetStatus `json:"status,omitempty"`
}

type WidgetSpec struct {
	Parts  *int32 `json:"parts,omitempty"`
	Colour string `json:"colour,omitempty"`
}

type WidgetStatus struct {
	Made       int32              `json:"made,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

type WidgetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Widget `json:"items"`
}

func (*Widget) Hub() {}

func (w *Widget) DeepCopyObject() runtime.Object {
	c := *w
	w.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	if w.Spec.Parts != nil {
		n := *w.Spec.Parts
		c.Spec.Parts = &n
	}
	c.Status.Conditions = append([]metav1.Condition(nil), w.Status.Conditions...)
	return &c
}

func (l *WidgetList) DeepCopyObject() runtime.Object {
	c := *l
	c.Items = nil
	for i := range l.Items {
		c.Items = append(c.Items, *l.Items[i].DeepCopyObject().(*Widget))
	}
	return &c
}

// Widget2 is the other version.
type Widget2 struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              struct {
		Amount string `json:"amount,omitempty"`
		Colour string `json:"colour,omitempty"`
	} `json:"spec,omitempty"`
	Status WidgetStatus `json:"status,omitempty"`
}

func (w *Widget2) DeepCopyObject() runtime.Object {
	c := *w
	w.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	c.Status.Conditions = append([]metav1.Condition(nil), w.Status.Conditions...)
	return &c
}

func (w *Widget2) ConvertTo(hub conversion.Hub) error {
	to := hub.(*Widget)
	to.ObjectMeta, to.Status = w.ObjectMeta, w.Status
	to.Spec.Colour = w.Spec.Colour
	if w.Spec.Amount == "" {
		return nil
	}
	var n int32
	if _, err := fmt.Sscanf(w.Spec.Amount, "%d parts", &n); err != nil {
		return fmt.Errorf("amount %q: %w", w.Spec.Amount, err)
	}
	to.Spec.Parts = &n
	return nil
}

func (w *Widget2) ConvertFrom(hub conversion.Hub) error {
	from := hub.(*Widget)
	w.ObjectMeta, w.Status = from.ObjectMeta, from.Status
	w.Spec.Colour = from.Spec.Colour
	if from.Spec.Parts != nil {
		w.Spec.Amount = fmt.Sprintf("%d parts", *from.Spec.Parts)
	}
	return nil
}

func addTo(s *runtime.Scheme) {
	s.AddKnownTypes(v1, &Widget{}, &WidgetList{})
	s.AddKnownTypeWithName(v2.WithKind("Widget"), &Widget2{})
	metav1.AddToGroupVersion(s, v1)
	metav1.AddToGroupVersion(s, v2)
}
