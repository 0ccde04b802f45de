// Package audit compares audit policies with Kubernetes' own code: what is refused, and which rule a request falls under.
package audit
