// Package helm installs, upgrades, rolls back, tests and uninstalls a chart with Helm's own packages.
package helm
