package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

const (
	redirectURI  = "http://127.0.0.1:9/callback"
	verifier     = "a verifier that is long enough to be one of PKCE's"
	projectScope = "urn:zitadel:iam:org:project:id:" + testProject + ":aud"
)

func startIssuerOfPortal(t *testing.T, args ...string) (*testIssuer, rp.RelyingParty) {
	t.Helper()
	issuer := startIssuer(t, append([]string{"--redirect-uri", redirectURI}, args...)...)
	portal, err := rp.NewRelyingPartyOIDC(t.Context(), issuer.url, portalID, "", redirectURI,
		[]string{"openid", "profile", "email", "offline_access", projectScope},
		rp.WithSigningAlgsFromDiscovery())
	if err != nil {
		t.Fatal(err)
	}
	return issuer, portal
}

// browser is a person's: it follows redirects until they leave the issuer.
func browser() *http.Client {
	return &http.Client{
		Timeout: deadline,
		CheckRedirect: func(next *http.Request, _ []*http.Request) error {
			if strings.HasPrefix(next.URL.String(), redirectURI) {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

// logIn goes through the login page as a person does.
func logIn(t *testing.T, portal rp.RelyingParty, name, password string) *http.Response {
	t.Helper()
	page, err := browser().Get(rp.AuthURL("a-state", portal, rp.WithCodeChallenge(oidc.NewSHACodeChallenge(verifier))))
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	html, err := io.ReadAll(page.Body)
	if err != nil {
		t.Fatal(err)
	}
	if page.StatusCode != http.StatusOK || !strings.Contains(string(html), `action="/login"`) {
		t.Fatalf("expected the login page, found %d: %s", page.StatusCode, html)
	}
	answer, err := browser().PostForm(page.Request.URL.String(), url.Values{
		"request": {page.Request.URL.Query().Get("request")}, "name": {name}, "password": {password},
	})
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer
}

func codeOf(t *testing.T, portal rp.RelyingParty, name string) string {
	t.Helper()
	answer := logIn(t, portal, name, name)
	returned, err := answer.Location()
	if err != nil {
		t.Fatalf("expected a redirect, found %d", answer.StatusCode)
	}
	query := returned.Query()
	if query.Get("state") != "a-state" || query.Get("code") == "" {
		t.Fatalf("expected the state and a code, found %s", returned)
	}
	return query.Get("code")
}

func tokensOf(t *testing.T, portal rp.RelyingParty, name string) *oidc.Tokens[*oidc.IDTokenClaims] {
	t.Helper()
	tokens, err := rp.CodeExchange[*oidc.IDTokenClaims](
		t.Context(), codeOf(t, portal, name), portal, rp.WithCodeVerifier(verifier))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestALoginGivesTheTokenThatIsMinted(t *testing.T) {
	issuer, portal := startIssuerOfPortal(t)
	tokens := tokensOf(t, portal, "grace")
	given := issuer.verify(tokens.AccessToken)
	minted := issuer.verify(issuer.mint(`{"sub": "grace"}`))
	if given.header.KeyID != minted.header.KeyID {
		t.Errorf("expected the same key, found %s and %s", given.header.KeyID, minted.header.KeyID)
	}
	for name := range minted.claims {
		if _, found := given.claims[name]; !found {
			t.Errorf("expected the claim %s, found none", name)
		}
	}
	for _, changing := range []string{"iat", "nbf", "exp", "jti"} {
		delete(given.claims, changing)
		delete(minted.claims, changing)
	}
	expectClaims(t, given.claims, minted.claims)
	if id := tokens.IDTokenClaims; id.Subject != "300000000000000002" || !slices.Contains(id.Audience, portalID) {
		t.Errorf("expected Grace's ID token for the portal, found %+v", id)
	}
}

func TestARefreshedTokenIsForTheSameAudience(t *testing.T) {
	issuer, portal := startIssuerOfPortal(t)
	first := tokensOf(t, portal, "ada")
	second, err := refresh(t.Context(), portal, first.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	claims := issuer.verify(second.AccessToken).claims
	if expected := []any{portalID, testProject}; !reflect.DeepEqual(claims["aud"], expected) {
		t.Errorf("expected the audience %v, found %v", expected, claims["aud"])
	}
	if _, err := refresh(t.Context(), portal, first.RefreshToken); err == nil {
		t.Error("expected a refresh token to be good for one use")
	}
}

func TestTheProjectIsInTheAudienceOnlyWhenAskedFor(t *testing.T) {
	issuer, portal := startIssuerOfPortal(t)
	portal.OAuthConfig().Scopes = []string{"openid"}
	claims := issuer.verify(tokensOf(t, portal, "ada").AccessToken).claims
	if expected := []any{portalID}; !reflect.DeepEqual(claims["aud"], expected) {
		t.Errorf("expected the audience %v, found %v", expected, claims["aud"])
	}
}

func TestACodeNeedsItsVerifier(t *testing.T) {
	_, portal := startIssuerOfPortal(t)
	for name, options := range map[string][]rp.CodeExchangeOpt{
		"none":    nil,
		"another": {rp.WithCodeVerifier(verifier + "?")},
	} {
		_, err := rp.CodeExchange[*oidc.IDTokenClaims](t.Context(), codeOf(t, portal, "ada"), portal, options...)
		if err == nil {
			t.Errorf("verifier %s: expected no tokens, found some", name)
		}
	}
}

func TestAWrongPasswordShowsTheLoginPageAgain(t *testing.T) {
	_, portal := startIssuerOfPortal(t)
	for _, wrong := range []struct{ name, password string }{{"ada", "grace"}, {"nobody", "nobody"}, {"", ""}} {
		if answer := logIn(t, portal, wrong.name, wrong.password); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%v: expected 401, found %d", wrong, answer.StatusCode)
		}
	}
}

func TestAnotherRedirectIsRefused(t *testing.T) {
	_, portal := startIssuerOfPortal(t)
	portal.OAuthConfig().RedirectURL = "http://evil.example/callback"
	answer, err := browser().Get(rp.AuthURL("a-state", portal))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusBadRequest {
		t.Errorf("expected 400, found %d", answer.StatusCode)
	}
}

func TestUserinfoEndsWithTheSession(t *testing.T) {
	_, portal := startIssuerOfPortal(t)
	tokens := tokensOf(t, portal, "ada")
	info, err := userinfo(t.Context(), portal, tokens.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	if info.Email != "ada@example.com" || !info.EmailVerified || info.Name != "Ada Lovelace" || info.Claims[claimRoles] == nil {
		t.Errorf("expected Ada's profile and roles, found %+v", info)
	}
	returned, err := rp.EndSession(t.Context(), portal, tokens.IDToken, redirectURI, "a-state", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if expected := redirectURI + "?state=a-state"; returned.String() != expected {
		t.Errorf("expected to return to %s, found %s", expected, returned)
	}
	if _, err := userinfo(t.Context(), portal, tokens.AccessToken); err == nil {
		t.Error("expected no userinfo after the end of the session, found some")
	}
}

func TestUserinfoOfAMintedTokenSaysWhatTheTokenSays(t *testing.T) {
	issuer, portal := startIssuerOfPortal(t)
	info, err := userinfo(t.Context(), portal, issuer.mint(`{"sub": "ada", "email": "other@example.com", "email_verified": false}`))
	if err != nil {
		t.Fatal(err)
	}
	if info.Email != "other@example.com" || info.EmailVerified {
		t.Errorf("expected the ordered e-mail address, found %+v", info)
	}
	if audience, found := info.Claims["aud"]; found {
		t.Errorf("expected nothing about the token, found its audience %v", audience)
	}
}

func TestALoginWorksWithEachKeyOfTheStart(t *testing.T) {
	issuer, portal := startIssuerOfPortal(t)
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		issuer.order("/test/rotate", fmt.Sprintf(`{"algorithm": %q}`, algorithm))
		tokens := tokensOf(t, portal, "ada")
		if found := issuer.verify(tokens.IDToken).header.Algorithm; found != algorithm {
			t.Errorf("expected an ID token signed with %s, found %s", algorithm, found)
		}
		if _, err := userinfo(t.Context(), portal, tokens.AccessToken); err != nil {
			t.Errorf("%s: expected userinfo, found %v", algorithm, err)
		}
		if _, err := rp.EndSession(t.Context(), portal, tokens.IDToken, redirectURI, "", "", nil); err != nil {
			t.Errorf("%s: expected the session to end, found %v", algorithm, err)
		}
	}
}

func refresh(ctx context.Context, portal rp.RelyingParty, token string) (*oidc.Tokens[*oidc.IDTokenClaims], error) {
	return rp.RefreshTokens[*oidc.IDTokenClaims](ctx, portal, token, "", "")
}

func userinfo(ctx context.Context, portal rp.RelyingParty, token string) (*oidc.UserInfo, error) {
	return rp.Userinfo[*oidc.UserInfo](ctx, token, oidc.BearerToken, adaID, portal)
}
