package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/bedplate/bedplate/apimachinery"
)

// The groups and the user that Kubernetes gives to everybody, and to nobody.
const (
	AuthenticatedGroup   = "system:authenticated"
	UnauthenticatedGroup = "system:unauthenticated"
	AnonymousUser        = "system:anonymous"
)

// Anonymous is the identity of requests without credentials.
func Anonymous() apimachinery.User {
	return apimachinery.User{Name: AnonymousUser, Groups: []string{UnauthenticatedGroup}}
}

// Union asks authenticators in order. Whoever knows the request decides, and its user is put into
// system:authenticated. An error is kept until all have been asked: bad credentials beside good ones don't harm.
// Only who sends none at all may become [Anonymous], which is the caller's to say.
func Union(authenticators ...apimachinery.Authenticator) apimachinery.Authenticator {
	return requestUnion(authenticators)
}

type requestUnion []apimachinery.Authenticator

func (u requestUnion) Authenticate(r *http.Request) (apimachinery.User, bool, error) {
	var errs []error
	for _, a := range u {
		user, ok, err := a.Authenticate(r)
		if err == nil && ok {
			return authenticated(user), true, nil
		}
		errs = append(errs, err)
	}
	return apimachinery.User{}, false, errors.Join(errs...)
}

func authenticated(u apimachinery.User) apimachinery.User {
	if u.Name != AnonymousUser && !slices.Contains(u.Groups, AuthenticatedGroup) && !slices.Contains(u.Groups, UnauthenticatedGroup) {
		u.Groups = append(slices.Clone(u.Groups), AuthenticatedGroup)
	}
	return u
}

// Bearer reads the token of an Authorization header and asks tokens about it, for the given audiences (nil: the
// server's own). A token that nobody knows is an error: somebody meant to be somebody.
func Bearer(tokens apimachinery.TokenAuthenticator, audiences ...string) apimachinery.Authenticator {
	return bearer{tokens, audiences}
}

type bearer struct {
	tokens    apimachinery.TokenAuthenticator
	audiences []string
}

var errBadToken = errors.New("invalid bearer token")

func (b bearer) Authenticate(r *http.Request) (apimachinery.User, bool, error) {
	scheme, token, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "bearer") || token == "" {
		return apimachinery.User{}, false, nil
	}
	u, _, ok, err := b.tokens.AuthenticateToken(r.Context(), token, b.audiences)
	if err != nil || !ok {
		return apimachinery.User{}, false, errors.Join(errBadToken, err)
	}
	return u, true, nil
}

// UnionTokens asks token authenticators in order; the first that knows the token decides. Errors are kept until
// all have been asked.
func UnionTokens(tokens ...apimachinery.TokenAuthenticator) apimachinery.TokenAuthenticator {
	return tokenUnion(tokens)
}

type tokenUnion []apimachinery.TokenAuthenticator

func (t tokenUnion) AuthenticateToken(ctx context.Context, token string, audiences []string) (apimachinery.User, []string, bool, error) {
	var errs []error
	for _, a := range t {
		u, good, ok, err := a.AuthenticateToken(ctx, token, audiences)
		if err == nil && ok {
			return u, good, true, nil
		}
		errs = append(errs, err)
	}
	return apimachinery.User{}, nil, false, errors.Join(errs...)
}

// Static returns the authenticator of fixed tokens. They are good for the server's own audiences only, which own
// lists; a request for others alone is refused. The map is copied.
func Static(tokens map[string]apimachinery.User, own ...string) apimachinery.TokenAuthenticator {
	s := static{own: own, users: map[[sha256.Size]byte]apimachinery.User{}}
	for token, u := range tokens {
		if token != "" {
			s.users[sha256.Sum256([]byte(token))] = u
		}
	}
	return s
}

// static keeps hashes: the time that a look-up takes says nothing about the tokens.
type static struct {
	users map[[sha256.Size]byte]apimachinery.User
	own   []string
}

func (s static) AuthenticateToken(_ context.Context, token string, audiences []string) (apimachinery.User, []string, bool, error) {
	u, ok := s.users[sha256.Sum256([]byte(token))]
	if !ok {
		return u, nil, false, nil
	}
	good := s.own
	if audiences != nil {
		if good = intersect(audiences, s.own); len(good) == 0 {
			return apimachinery.User{}, nil, false, nil
		}
	}
	u.Groups = slices.Clone(u.Groups)
	return u, good, true, nil
}

func intersect(wanted, have []string) (both []string) {
	for _, w := range wanted {
		if slices.Contains(have, w) {
			both = append(both, w)
		}
	}
	return both
}
