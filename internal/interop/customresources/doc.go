// Package customresources holds what the documentation of CustomResourceDefinitions states against the server, one
// statement at a time, through client-go.
package customresources
