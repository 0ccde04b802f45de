package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
)

// eventOf is a server's event as Kubernetes has it, with memory of its own but for what never changes.
func eventOf(ev *server.AuditEvent) *auditv1.Event {
	out := &auditv1.Event{
		TypeMeta: metav1.TypeMeta{Kind: "Event", APIVersion: auditv1.SchemeGroupVersion.String()},
		Level:    levelNames[ev.Level], AuditID: ev.ID, Stage: auditv1.Stage(ev.Stage),
		RequestURI: ev.URI, Verb: ev.Verb, User: userOf(&ev.User), SourceIPs: slices.Clone(ev.Sources), UserAgent: ev.UserAgent,
		RequestReceivedTimestamp: metav1.NewMicroTime(ev.Received), StageTimestamp: metav1.NewMicroTime(ev.Done),
		Annotations: maps.Clone(ev.Annotations),
	}
	if ev.As != nil {
		u := userOf(ev.As)
		out.ImpersonatedUser = &u
	}
	if ev.Path == "" {
		out.ObjectRef = &auditv1.ObjectReference{
			Resource: ev.Resource.Resource, Namespace: ev.Namespace, Name: ev.Name, UID: ev.UID, APIGroup: ev.Resource.Group,
			APIVersion: ev.Resource.Version, ResourceVersion: ev.ResourceVersion, Subresource: ev.Sub,
		}
	}
	if ev.Status != nil || ev.Code != 0 {
		st := metav1.Status{}
		if ev.Status != nil {
			st = metav1.Status{Status: ev.Status.Status, Message: ev.Status.Message, Reason: ev.Status.Reason, Details: ev.Status.Details}
		}
		st.Code = ev.Code
		out.ResponseStatus = &st
	}
	out.RequestObject, out.ResponseObject = unknown(ev.Request), unknown(ev.Response)
	return out
}

func userOf(u *apimachinery.User) authnv1.UserInfo {
	out := authnv1.UserInfo{Username: u.Name, UID: u.UID, Groups: slices.Clone(u.Groups)}
	for k, v := range u.Extra {
		if out.Extra == nil {
			out.Extra = map[string]authnv1.ExtraValue{}
		}
		out.Extra[k] = slices.Clone(v)
	}
	return out
}

func unknown(raw []byte) *runtime.Unknown {
	if raw == nil {
		return nil
	}
	return &runtime.Unknown{Raw: raw, ContentType: apimachinery.JSON}
}

// line is an event as one line of JSON.
func line(ev *auditv1.Event) ([]byte, error) {
	raw, err := json.Marshal(ev)
	return append(raw, '\n'), err
}

// legacy is an event as one line of Kubernetes' format legacy.
func legacy(ev *auditv1.Event) []byte {
	user, groups := orText(ev.User.Username, "<none>"), "<none>"
	if ev.User.Username != "" && len(ev.User.Groups) > 0 {
		groups = quoted(ev.User.Groups)
	}
	as, asGroups := "<self>", "<lookup>"
	if ev.ImpersonatedUser != nil {
		as = ev.ImpersonatedUser.Username
		if ev.ImpersonatedUser.Groups != nil {
			asGroups = quoted(ev.ImpersonatedUser.Groups)
		}
	}
	namespace, response, ip := "<none>", "<deferred>", "<unknown>"
	if ev.ObjectRef != nil {
		namespace = orText(ev.ObjectRef.Namespace, namespace)
	}
	if ev.ResponseStatus != nil {
		response = fmt.Sprint(ev.ResponseStatus.Code)
	}
	if len(ev.SourceIPs) > 0 {
		ip = ev.SourceIPs[0]
	}
	return fmt.Appendf(nil, "%s AUDIT: id=%q stage=%q ip=%q method=%q user=%q groups=%q as=%q asgroups=%q user-agent=%q namespace=%q uri=%q response=\"%s\"\n",
		ev.RequestReceivedTimestamp.Format(time.RFC3339Nano), ev.AuditID, ev.Stage, ip, ev.Verb, user, groups, as, asGroups,
		ev.UserAgent, namespace, ev.RequestURI, response)
}

func orText(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(out, ",")
}
