package audit_test

import (
	"fmt"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/audit"
)

func Example() {
	policy, err := audit.ParsePolicy([]byte(`
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [system:kube-proxy]
  verbs: [watch]
- level: Metadata
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	a, err := audit.New(audit.Config{Policy: policy, File: &audit.File{Path: "-", Format: audit.FormatLegacy}})
	if err != nil {
		fmt.Println(err)
		return
	}
	// A server asks and tells: server.Config{Audit: a}.
	fmt.Println(a.Rule(&server.AuditEvent{Verb: "watch", User: apimachinery.User{Name: "system:kube-proxy"}}).Level == server.AuditNone)
	fmt.Println(a.Rule(&server.AuditEvent{Verb: "watch", User: apimachinery.User{Name: "alice"}}).Level == server.AuditMetadata)
	// Output:
	// true
	// true
}
