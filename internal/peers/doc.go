// Package peers compares Bedplate with Kubernetes' own code. It is a module of its own, so that users of Bedplate
// don't download what it needs.
//
// kinds compares the built-in kinds, on the objects of corpus: defaults, preparation, validation and columns; cel
// compares rules of schemas and expressions of policies: what is refused, results, messages and costs. The
// release compared with is the newest whose module can be had, which may be one behind: what differs by release stands
// in the table of known differences.
package peers
