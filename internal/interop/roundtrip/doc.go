// Package roundtrip sends objects of every built-in kind with random content through this project's codecs and through
// a server, beside the codecs of k8s.io/apimachinery: what goes in comes out.
package roundtrip
