// Package peers compares Bedplate with Kubernetes' own code. It is a module of its own, so that users of Bedplate
// don't download what it needs.
//
// kinds compares defaults, validation, preparation and quality of service of the built-in kinds; columns what kubectl
// get prints. Both work on the objects of corpus. The release compared with is the newest whose module can be had,
// which may be one behind: what differs by release stands in the tables of known differences.
package peers
