package dns

// UpstreamsOf is what HostUpstreams does, with other files.
var UpstreamsOf = upstreamsOf

// Reply answers a query that has come in no socket.
var Reply = (*Server).reply

// Fit cuts an answer to size.
var Fit = fit
