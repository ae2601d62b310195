package main

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

func TestDiscoveryDescribesThisIssuer(t *testing.T) {
	issuer := startIssuer(t)
	found := issuer.discover()
	if found.Issuer != issuer.url {
		t.Errorf("expected the issuer %s, found %s", issuer.url, found.Issuer)
	}
	for name, endpoint := range map[string]string{
		"/oauth/v2/keys":       found.JwksURI,
		"/oauth/v2/token":      found.TokenEndpoint,
		"/oauth/v2/authorize":  found.AuthorizationEndpoint,
		"/oauth/v2/introspect": found.IntrospectionEndpoint,
		"/oidc/v1/userinfo":    found.UserinfoEndpoint,
	} {
		if endpoint != issuer.url+name {
			t.Errorf("expected %s, found %s", issuer.url+name, endpoint)
		}
	}
}

// The example storage can do more, with a secret that everybody can read in its source.
func TestNoOtherGrantIsOffered(t *testing.T) {
	issuer := startIssuer(t)
	for _, grant := range []oidc.GrantType{
		oidc.GrantTypeClientCredentials, oidc.GrantTypeDeviceCode, oidc.GrantTypeTokenExchange,
	} {
		if slices.Contains(issuer.discover().GrantTypesSupported, grant) {
			t.Errorf("expected no grant %s", grant)
		}
	}
}

func TestAKeyOfEachAlgorithmIsPublishedFromTheStart(t *testing.T) {
	issuer := startIssuer(t)
	published := map[string]int{}
	for _, key := range issuer.keySet().Keys {
		published[key.Algorithm]++
		if key.KeyID == "" || key.Use != "sig" {
			t.Errorf("expected a kid and the use sig, found %q and %q", key.KeyID, key.Use)
		}
		if !key.IsPublic() {
			t.Errorf("expected public keys only, found the private one of %s", key.KeyID)
		}
	}
	if expected := map[string]int{"RS256": 1, "ES256": 1, "EdDSA": 1}; !maps.Equal(published, expected) {
		t.Errorf("expected %v, found %v", expected, published)
	}
}

func TestTheKeySetMayBeCachedShortly(t *testing.T) {
	issuer := startIssuer(t)
	var set map[string]any
	response := issuer.send(http.MethodGet, keySetPath, "", &set)
	if found := response.Header.Get("Cache-Control"); found != keySetMaxAge {
		t.Errorf("expected Cache-Control %q, found %q", keySetMaxAge, found)
	}
}

func TestRequestsOfVerifiersAreCounted(t *testing.T) {
	issuer := startIssuer(t, "--introspection-secret", introspectionSecret)
	issuer.discover()
	issuer.keySet()
	issuer.expectStats(2, 1, 0)
	// The client of an introspection reads the metadata first.
	issuer.mustIntrospect("rubbish")
	issuer.expectStats(3, 1, 1)
	issuer.order("/test/stats/reset", "")
	issuer.expectStats(0, 0, 0)
}

func (i *testIssuer) expectStats(discovery, jwks, introspection int64) {
	i.t.Helper()
	var found map[string]int64
	i.send(http.MethodGet, "/test/stats", "", &found)
	expected := map[string]int64{"discovery": discovery, "jwks": jwks, "introspection": introspection}
	if !maps.Equal(found, expected) {
		i.t.Errorf("expected %v, found %v", expected, found)
	}
}
