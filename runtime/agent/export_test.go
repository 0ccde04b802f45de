package agent

// WatchFolder gives a token whenever something in a folder changes.
var WatchFolder = watchFolder
