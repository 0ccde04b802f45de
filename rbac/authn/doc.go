// Package authn says who sends a request: by client certificate, by static token, by service-account token, or
// nobody in particular.
//
// Authenticators of requests are joined by [Union], those of bearer tokens by [UnionTokens] under [Bearer].
// [Issuer] makes the tokens of service accounts and [Issuer.AuthenticateToken] checks them, as Kubernetes' bound
// tokens are: signed with ES256 or RS256, for audiences, until an hour comes or what they are bound to is gone.
package authn
