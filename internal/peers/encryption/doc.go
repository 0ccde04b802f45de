// Package encryption opens here what Kubernetes' own code sealed at rest, and there what was sealed here.
package encryption
