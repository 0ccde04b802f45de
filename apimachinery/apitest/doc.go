// Package apitest gives tests a real API server: every built-in kind, definitions and kinds of one's own, over HTTPS and
// in process, without binaries, ports of one's own, root or a network, in a few hundredths of a second. It is for
// what others run etcd and kube-apiserver for (envtest), and works on Linux, macOS and Windows.
//
// [Start] serves until the test ends; [Open] does for TestMain, and for what is no test. Each API has a store in
// memory that is its own, so tests run in parallel, a hundred in one process.
//
//	api := apitest.Start(t, apitest.Config{CRDPaths: []string{"config/crd"}})
//	cfg := api.RESTConfig() // for client-go and controller-runtime
//
// As with envtest, nothing works on what is stored: no Deployment makes pods, and a namespace that is deleted stays
// Terminating. Config.Controllers adds what empties namespaces and collects garbage. All loops of a cluster, and its
// scheduler, are in the root package, bedplate.Start.
package apitest
