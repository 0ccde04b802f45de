// Package clientgo uses k8s.io/client-go, as it is, in all the ways that programs use it.
package clientgo
