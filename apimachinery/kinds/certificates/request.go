package certificates

import (
	"context"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

type request = *certificatesv1.CertificateSigningRequest

// CertificateSigningRequests declares certificates.k8s.io/v1 CertificateSigningRequest. Who asks is taken from the
// request's user (apimachinery.UserFrom), whatever the object says.
func CertificateSigningRequests() apimachinery.Resource {
	write := []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate}
	return apimachinery.Resource{
		Name:   schema.GroupResource{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"},
		Prefix: "certificatesigningrequests",
		New:    func() apimachinery.Object { return &certificatesv1.CertificateSigningRequest{} },
		Views: []apimachinery.View{{
			GroupVersionKind: certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"),
			Plural:           "certificatesigningrequests", Short: []string{"csr"},
			Columns: columns(),
			Fields:  []apimachinery.Field{{Name: "spec.signerName"}},
		}},
		ValidName: func(string, bool) []string { return nil }, // whatever can be in a path
		Prepare: func(ctx context.Context, new, old apimachinery.Object) {
			if old == nil {
				prepareNew(ctx, new.(request))
				return
			}
			n, o := new.(request), old.(request).DeepCopy()
			n.Spec, n.Status = o.Spec, o.Status
		},
		Validate: validator(door{}),
		Subs: map[string]apimachinery.Subresource{
			"status": {Verbs: write, Strategy: &apimachinery.Strategy{
				Owned:    []string{"status"},
				Prepare:  func(_ context.Context, new, old apimachinery.Object) { prepareStatus(new.(request), old.(request)) },
				Validate: validator(door{certificate: true}),
			}},
			"approval": {Verbs: write, Strategy: &apimachinery.Strategy{
				Owned: []string{"status"},
				Prepare: func(_ context.Context, new, old apimachinery.Object) {
					n, o := new.(request), old.(request).DeepCopy()
					stampConditions(n, o)
					o.Status.Conditions = n.Status.Conditions
					n.Spec, n.Status = o.Spec, o.Status
				},
				Validate: validator(door{approval: true}),
			}},
		},
	}
}

func validator(d door) func(ctx context.Context, new, old apimachinery.Object) field.ErrorList {
	return func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
		o, _ := old.(request)
		return d.validate(new.(request), o)
	}
}

func prepareNew(ctx context.Context, r request) {
	user, _ := apimachinery.UserFrom(ctx)
	s := &r.Spec
	s.Username, s.UID, s.Groups, s.Extra = user.Name, user.UID, slices.Clone(user.Groups), nil
	if len(user.Extra) > 0 {
		s.Extra = make(map[string]certificatesv1.ExtraValue, len(user.Extra))
		for k, v := range user.Extra {
			s.Extra[k] = v
		}
	}
	r.Status = certificatesv1.CertificateSigningRequestStatus{}
}

// prepareStatus keeps the conditions that only approvers write, as long as there are as many as before: that others
// came or went is for validation to refuse.
func prepareStatus(new, old request) {
	new.Spec = *old.Spec.DeepCopy()
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		now, before := indices(new, t), indices(old, t)
		if len(now) != len(before) {
			continue
		}
		for i := range now {
			new.Status.Conditions[now[i]] = *old.Status.Conditions[before[i]].DeepCopy()
		}
	}
	stampConditions(new, old)
}

func indices(r request, t certificatesv1.RequestConditionType) (out []int) {
	for i, c := range r.Status.Conditions {
		if c.Type == t {
			out = append(out, i)
		}
	}
	return out
}

// stampConditions fills in the times that are missing; a condition that had its status already keeps its time.
func stampConditions(new, old request) {
	now := metav1.Now()
	for i := range new.Status.Conditions {
		c := &new.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, o := range old.Status.Conditions {
			if o.Type == c.Type && o.Status == c.Status && !o.LastTransitionTime.IsZero() {
				c.LastTransitionTime = o.LastTransitionTime
				break
			}
		}
	}
}

func columns() []apimachinery.Column {
	return []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.AgeColumn(),
		apimachinery.ColumnOf("SignerName", "string", func(r request) any {
			if r.Spec.SignerName == "" {
				return "<none>"
			}
			return r.Spec.SignerName
		}),
		apimachinery.ColumnOf("Requestor", "string", func(r request) any { return r.Spec.Username }),
		apimachinery.ColumnOf("RequestedDuration", "string", func(r request) any {
			if r.Spec.ExpirationSeconds == nil {
				return "<none>"
			}
			return duration.HumanDuration(time.Duration(*r.Spec.ExpirationSeconds) * time.Second)
		}),
		apimachinery.ColumnOf("Condition", "string", func(r request) any { return state(r) }),
	}
}

func state(r request) string {
	has := func(t certificatesv1.RequestConditionType) bool { return len(indices(r, t)) > 0 }
	out := "Pending"
	if has(certificatesv1.CertificateDenied) {
		out = "Denied"
	} else if has(certificatesv1.CertificateApproved) {
		out = "Approved"
	}
	if has(certificatesv1.CertificateFailed) {
		out += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		out += ",Issued"
	}
	return out
}
