package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/client/rs"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

const introspectionSecret = "a secret of tests"

// introspect asks as a client of the project.
func (i *testIssuer) introspect(client, secret, token string) (*oidc.IntrospectionResponse, error) {
	i.t.Helper()
	server, err := rs.NewResourceServerClientCredentials(i.t.Context(), i.url, client, secret)
	if err != nil {
		i.t.Fatal(err)
	}
	return rs.Introspect[*oidc.IntrospectionResponse](i.t.Context(), server, token)
}

func (i *testIssuer) mustIntrospect(token string) *oidc.IntrospectionResponse {
	i.t.Helper()
	answer, err := i.introspect(introspectorID, introspectionSecret, token)
	if err != nil {
		i.t.Fatal(err)
	}
	return answer
}

func TestIntrospectionKnowsTokensOfLoginsAndOfOrders(t *testing.T) {
	issuer, portal := startIssuerOfPortal(t, "--introspection-secret", introspectionSecret)
	for name, token := range map[string]string{
		"login":       tokensOf(t, portal, "ada").AccessToken,
		"order":       issuer.mint(`{"sub": "ada"}`),
		"order EdDSA": issuer.mint(`{"sub": "ada", "algorithm": "EdDSA"}`),
	} {
		answer := issuer.mustIntrospect(token)
		claims := issuer.verify(token).claims
		if !answer.Active || answer.Subject != adaID || answer.ClientID != portalID || answer.JWTID != claims["jti"] ||
			answer.Issuer != issuer.url || float64(answer.Expiration) != claims["exp"] {
			t.Errorf("%s: expected what the token says, found %+v", name, answer)
		}
		if !slices.Equal(answer.Audience, []string{portalID, testProject}) {
			t.Errorf("%s: expected portal and project as audience, found %v", name, answer.Audience)
		}
		if !reflect.DeepEqual(answer.Claims[claimRoles], claims[claimRoles]) {
			t.Errorf("%s: expected the roles %v, found %v", name, claims[claimRoles], answer.Claims[claimRoles])
		}
	}
}

func TestAnOpaqueTokenIsOnePieceAndMeansWhatItsOrderSays(t *testing.T) {
	issuer := startIssuer(t, "--introspection-secret", introspectionSecret)
	token := issuer.mint(`{"sub": "grace", "opaque": true, "roles": ["admin:tools"]}`)
	if strings.Contains(token, ".") {
		t.Errorf("expected no JWT, found %q", token)
	}
	answer := issuer.mustIntrospect(token)
	roles, _ := answer.Claims[claimRoles].(map[string]any)
	if _, held := roles["admin:tools"]; !answer.Active || answer.Issuer != issuer.url || !held {
		t.Errorf("expected an active token with the role, found %+v", answer)
	}
	if issuer.mustIntrospect(token[:len(token)-8]).Active {
		t.Error("expected a token that was cut to be inactive")
	}
}

func TestIntrospectionOfTokensThatAreNotGoodSaysOnlyThat(t *testing.T) {
	issuer := startIssuer(t, "--introspection-secret", introspectionSecret)
	for name, token := range map[string]string{
		"expired, opaque":  issuer.mint(`{"sub": "ada", "opaque": true, "expires_in": -60}`),
		"expired":          issuer.mint(`{"sub": "ada", "expires_in": -60}`),
		"another audience": issuer.mint(`{"sub": "ada", "audience": ["another"]}`),
		"another issuer":   issuer.mint(`{"sub": "ada", "issuer": "https://evil.example"}`),
		"another key":      issuer.mint(`{"sub": "ada", "kid": "unheard-of"}`),
		"no jti":           issuer.mint(`{"sub": "ada", "claims": {"jti": null}}`),
		"no token":         "rubbish",
	} {
		answer := issuer.mustIntrospect(token)
		if answer.Active {
			t.Errorf("%s: expected an inactive token, found %+v", name, answer)
		}
	}
}

func TestARevokedTokenIsInactive(t *testing.T) {
	issuer, portal := startIssuerOfPortal(t, "--introspection-secret", introspectionSecret)
	refreshed, err := refresh(t.Context(), portal, tokensOf(t, portal, "ada").RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"login":   tokensOf(t, portal, "ada").AccessToken,
		"refresh": refreshed.AccessToken,
		"order":   issuer.mint(`{"sub": "ada"}`),
	} {
		if err := rp.RevokeToken(t.Context(), portal, token, "access_token"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if issuer.mustIntrospect(token).Active {
			t.Errorf("%s: expected an inactive token after its revocation", name)
		}
	}
}

func TestATokenIsNotRevokedByAnotherClient(t *testing.T) {
	issuer, portal := startIssuerOfPortal(t, "--introspection-secret", introspectionSecret)
	another, err := rp.NewRelyingPartyOIDC(t.Context(), issuer.url, introspectorID, introspectionSecret, "", nil,
		rp.WithAuthStyle(oauth2.AuthStyleInHeader))
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"login": tokensOf(t, portal, "ada").AccessToken,
		"order": issuer.mint(`{"sub": "ada"}`),
	} {
		if err := rp.RevokeToken(t.Context(), another, token, "access_token"); err == nil {
			t.Errorf("%s: expected a refusal, found none", name)
		}
		if !issuer.mustIntrospect(token).Active {
			t.Errorf("%s: expected the token to stay active", name)
		}
	}
}

func TestOnlyTheIntrospectorMayIntrospect(t *testing.T) {
	for _, wrong := range []struct {
		name, client, secret string
		args                 []string
	}{
		{"a wrong secret", introspectorID, "guessed", []string{"--introspection-secret", introspectionSecret}},
		{"no secret, and none is set", introspectorID, "", nil},
		{"the public client", portalID, introspectionSecret, []string{"--introspection-secret", introspectionSecret}},
		{"the public client, without a secret", portalID, "", []string{"--introspection-secret", introspectionSecret}},
		{"nobody", "nobody", "", nil},
	} {
		issuer := startIssuer(t, wrong.args...)
		answer, err := issuer.introspect(wrong.client, wrong.secret, issuer.mint(`{"sub": "ada"}`))
		if err == nil {
			t.Errorf("%s: expected a refusal, found %+v", wrong.name, answer)
		}
	}
}
