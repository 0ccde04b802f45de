package define_test

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/define"
)

// Port is an item of a list that merges by name.
type Port struct {
	Name   string `json:"name"`
	Number int32  `json:"number,omitempty" schema:"minimum=1,maximum=65535,default=80"`
}

// WebsiteSpec has every kind of tag.
type WebsiteSpec struct {
	_        struct{} `schema:"rule=self.replicas <= 5 || self.image != 'small',message=small images don't scale"`
	Image    string   `json:"image" doc:"what it runs" schema:"minLength=1" column:"Image"`
	Replicas int32    `json:"replicas" doc:"how many run" schema:"default=3,minimum=0,maximum=10" column:"Replicas"`
	Tier     string   `json:"tier,omitempty" schema:"enum=gold|silver,default=silver" column:"Tier,wide"`
	Class    string   `json:"class,omitempty" schema:"immutable"`
	Debug    *bool    `json:"debug,omitempty" schema:"default=false"`
	Ports    []Port   `json:"ports,omitempty" schema:"listType=map,listMapKey=name,maxItems=8"`
	Owner    string   `json:"owner,omitempty"`
}

// Validate is what tags can't say.
func (s *WebsiteSpec) Validate(path *field.Path) field.ErrorList {
	if s.Owner == "nobody" {
		return field.ErrorList{field.Invalid(path.Child("owner"), s.Owner, "nobody owns nothing")}
	}
	return nil
}

// ValidateUpdate judges a change.
func (s *WebsiteSpec) ValidateUpdate(old *WebsiteSpec, path *field.Path) field.ErrorList {
	if old.Owner != "" && s.Owner != old.Owner {
		return field.ErrorList{field.Forbidden(path.Child("owner"), "owners stay")}
	}
	return nil
}

type WebsiteStatus struct {
	Replicas int32  `json:"replicas,omitempty" schema:"minimum=0"`
	Selector string `json:"selector,omitempty"`
	Phase    string `json:"phase,omitempty" schema:"enum=Up|Down" column:"Phase"`
}

type Website = apimachinery.Typed[WebsiteSpec, WebsiteStatus]

func websiteKind() define.Kind {
	return define.Kind{
		Group: "demo.example.com", Kind: "Website", Object: &Website{}, Short: []string{"ws"}, Category: []string{"all"},
		Fields: []string{"spec.tier"}, Scale: &apimachinery.ScalePaths{Spec: ".spec.replicas", Status: ".status.replicas", Selector: ".status.selector"},
	}
}

// The types of Gadget are as kubebuilder makes them.

type GadgetSpec struct {
	Size int `json:"size,omitempty"`
}

type GadgetStatus struct {
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
}

type Gadget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec   GadgetSpec   `json:"spec"`
	Status GadgetStatus `json:"status,omitzero"`
}

func (g *Gadget) DeepCopyObject() runtime.Object {
	out := *g
	g.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Status.Conditions = append([]metav1.Condition(nil), g.Status.Conditions...)
	return &out
}

// Hub and Convertible as controller-runtime has them.
type Hub interface {
	runtime.Object
	Hub()
}

func (*Gadget) Hub() {}

type OldGadget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              struct {
		Width int `json:"width" schema:"minimum=0"`
	} `json:"spec"`
}

func (g *OldGadget) DeepCopyObject() runtime.Object {
	out := *g
	g.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}

func (g *OldGadget) ConvertTo(hub Hub) error {
	to := hub.(*Gadget)
	to.ObjectMeta, to.Spec.Size = g.ObjectMeta, g.Spec.Width
	return nil
}

func (g *OldGadget) ConvertFrom(hub Hub) error {
	from := hub.(*Gadget)
	g.ObjectMeta, g.Spec.Width = from.ObjectMeta, from.Spec.Size
	return nil
}

// warnings is as admission.Warnings.
type warnings []string

// gadgetWebhook is as it is written for controller-runtime.
type gadgetWebhook struct{}

func (gadgetWebhook) Default(_ context.Context, g *Gadget) error {
	if g.Spec.Size == 0 {
		g.Spec.Size = 7
	}
	return nil
}

func (gadgetWebhook) ValidateCreate(_ context.Context, g *Gadget) (warnings, error) {
	if g.Spec.Size < 0 {
		return nil, errors.New("too small")
	}
	return warnings{"a new gadget"}, nil
}

func (gadgetWebhook) ValidateUpdate(_ context.Context, old, new *Gadget) (warnings, error) {
	if new.Spec.Size < old.Spec.Size {
		return nil, errors.New("gadgets don't shrink")
	}
	return nil, nil
}

func (gadgetWebhook) ValidateDelete(_ context.Context, g *Gadget) (warnings, error) {
	if g.Labels["keep"] != "" {
		return nil, errors.New("it is to be kept")
	}
	return nil, nil
}
