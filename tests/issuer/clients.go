package main

import (
	"crypto/subtle"
	"errors"
	"strings"

	example "github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	// portalID is the web client of the portal, and the client of every token that is minted.
	portalID = "portal"
	// introspectorID is the client that the exchange introspects tokens as.
	introspectorID = "kombi-exchange"
)

// clients are those of the project.
type clients struct {
	portal portal
	// introspectionSecret is empty where nobody may introspect.
	introspectionSecret string
}

func newClients(s settings) clients {
	return clients{
		portal:              portal{example.NativeClient(portalID), s.redirectURIs},
		introspectionSecret: s.introspectionSecret,
	}
}

func (c clients) byID(id string) (op.Client, error) {
	switch {
	case id == portalID:
		return c.portal, nil
	case id == introspectorID && c.introspectionSecret != "":
		return introspector{example.WebClient(introspectorID, c.introspectionSecret)}, nil
	default:
		return nil, errors.New("client not found")
	}
}

// authorize never accepts the portal: a public client has no secret, not even an empty one.
func (c clients) authorize(id, secret string) error {
	if id != introspectorID || c.introspectionSecret == "" ||
		subtle.ConstantTimeCompare([]byte(secret), []byte(c.introspectionSecret)) != 1 {
		return errors.New("wrong client or secret")
	}
	return nil
}

// portal is a page in the browser: public, so it proves itself by PKCE and nothing else.
type portal struct {
	*example.Client
	redirectURIs []string
}

func (p portal) RedirectURIs() []string { return p.redirectURIs }

func (p portal) PostLogoutRedirectURIs() []string { return p.redirectURIs }

func (portal) ApplicationType() op.ApplicationType { return op.ApplicationTypeUserAgent }

// DevMode allows redirects to http, which a page on one's own machine has.
func (portal) DevMode() bool { return true }

func (portal) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

func (portal) IsScopeAllowed(scope string) bool {
	return strings.HasPrefix(scope, reservedScopePrefix)
}

func (portal) LoginURL(request string) string { return loginURL(request) }

// introspector is what Zitadel calls an API: it authenticates, and can never obtain a token.
type introspector struct {
	*example.Client
}

func (introspector) RedirectURIs() []string { return nil }

func (introspector) GrantTypes() []oidc.GrantType { return nil }
