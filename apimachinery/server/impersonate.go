package server

import (
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
)

const (
	extraHeader      = "Impersonate-Extra-"
	verbImpersonate  = "impersonate"
	authentication   = "authentication.k8s.io"
	accountNamespace = "system:serviceaccount:"
)

// impersonated reads the Impersonate headers.
func impersonated(h http.Header) (u apimachinery.User, wanted bool, err error) {
	u.Name, u.UID = h.Get("Impersonate-User"), h.Get("Impersonate-Uid")
	u.Groups = append(u.Groups, h.Values("Impersonate-Group")...)
	for k, values := range h {
		name, ok := strings.CutPrefix(k, extraHeader)
		if !ok {
			continue
		}
		if name, err = url.PathUnescape(strings.ToLower(name)); err != nil {
			return u, false, apierrors.NewBadRequest("the header " + k + " is not escaped as it should be")
		}
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[name] = append(u.Extra[name], values...)
	}
	wanted = u.Name != "" || u.UID != "" || len(u.Groups) > 0 || len(u.Extra) > 0
	if wanted && u.Name == "" {
		return u, false, apierrors.NewBadRequest("requested uid, groups or extra of a user to impersonate, but no user: send Impersonate-User")
	}
	return u, wanted, nil
}

// impersonationAttributes are the rights that it takes to be as.
func impersonationAttributes(user, as apimachinery.User) []apimachinery.Attributes {
	base := apimachinery.Attributes{User: user, Verb: verbImpersonate, Version: "v1"}
	who := base
	who.Resource, who.Name = "users", as.Name
	if namespace, name, ok := serviceAccount(as.Name); ok {
		who.Resource, who.Namespace, who.Name = "serviceaccounts", namespace, name
	}
	all := []apimachinery.Attributes{who}
	for _, g := range as.Groups {
		a := base
		a.Resource, a.Name = "groups", g
		all = append(all, a)
	}
	if as.UID != "" {
		a := base
		a.Group, a.Resource, a.Name = authentication, "uids", as.UID
		all = append(all, a)
	}
	for k, values := range as.Extra {
		for _, v := range values {
			a := base
			a.Group, a.Resource, a.Sub, a.Name = authentication, "userextras", k, v
			all = append(all, a)
		}
	}
	return all
}

// serviceAccount splits the user name of a service account.
func serviceAccount(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, accountNamespace)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, ":")
}
