package kubernetes_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/bedplate/bedplate/storage/memory"
	"github.com/bedplate/bedplate/storage/seal/kubernetes"
)

// A store whose Secrets are sealed by a kube-apiserver's file.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "encryption.yaml")
	err = os.WriteFile(file, []byte(`
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aesgcm: {keys: [{name: key1, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}
  - identity: {} # what was written before
`), 0o600)
	if err != nil {
		fmt.Println(err)
		return
	}
	keys, err := kubernetes.Open(kubernetes.Config{File: file})
	if err != nil {
		fmt.Println(err)
		return
	}
	store, err := memory.New(memory.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	sealed, err := keys.Seal(store)
	fmt.Println(sealed != nil, err)
	// Output: true <nil>
}
