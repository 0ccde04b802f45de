package wire

import "github.com/bedplate/bedplate/apimachinery"

// URI is the path and query that a request has over HTTP.
func URI(r *apimachinery.Request) (string, error) {
	t := target{GroupVersionResource: r.Resource, namespace: r.Namespace, name: r.Name, sub: r.Sub}
	rest, options := takeProxyPath(r.Options)
	t.rest = rest
	path, err := t.path()
	if err != nil {
		return "", err
	}
	_, include := takeInclude(r.Accept)
	q, err := query(r.Verb, options, include)
	if err != nil || q == "" {
		return path, err
	}
	return path + "?" + q, nil
}
