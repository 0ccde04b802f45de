//go:build !unix

package backup

// syncFolder does nothing: here names last as the system sees to it.
func syncFolder(string) error { return nil }
