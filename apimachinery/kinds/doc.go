// Package kinds gathers the built-in kinds: those that every control plane serves. Each group has a package below,
// which declares its kinds as data, one apimachinery.Resource each: who needs a few of them takes them from there,
// and links no more.
package kinds
