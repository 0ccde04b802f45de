// Package docs keeps what the documents show true: its test compiles every Go block of README.md and docs/*.md,
// runs those that show their output, and compares. There is nothing to import here.
package docs
