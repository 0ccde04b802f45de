// Package arch holds the house's table: which folder may import which. Its test parses the imports of every
// file; there is nothing to import here.
package arch
