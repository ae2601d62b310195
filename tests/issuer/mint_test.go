package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAPersonsTokenLooksLikeZitadels(t *testing.T) {
	issuer := startIssuer(t)
	now := float64(time.Now().Unix())
	token := issuer.verify(issuer.mint(`{"sub": "ada"}`))
	if token.header.Algorithm != "RS256" || token.header.ExtraHeaders["typ"] != "JWT" {
		t.Errorf("expected the header RS256 and JWT, found %+v", token.header)
	}

	claims := token.claims
	for name, after := range map[string]float64{"iat": 0, "nbf": 0, "exp": 3600} {
		found, _ := claims[name].(float64)
		if found < now+after || found > now+after+deadline.Seconds() {
			t.Errorf("expected %s %.0f s after %.0f, found %.0f", name, after, now, found)
		}
		delete(claims, name)
	}
	if id, _ := claims["jti"].(string); id == "" {
		t.Error("expected a jti, found none")
	}
	delete(claims, "jti")

	roles := map[string]any{"user": map[string]any{"200000000000000001": "kombisphere.localhost"}}
	expectClaims(t, claims, map[string]any{
		"iss":                               issuer.url,
		"sub":                               adaID,
		"aud":                               []any{"portal", testProject},
		"client_id":                         "portal",
		"urn:zitadel:iam:org:project:roles": roles,
		"urn:zitadel:iam:org:project:" + testProject + ":roles": roles,
		"urn:zitadel:iam:user:resourceowner:id":                 "200000000000000001",
		"urn:zitadel:iam:user:resourceowner:name":               "KombiSphere",
		"urn:zitadel:iam:user:resourceowner:primary_domain":     "kombisphere.localhost",
		"email":              "ada@example.com",
		"email_verified":     true,
		"name":               "Ada Lovelace",
		"preferred_username": "ada@kombisphere.localhost",
	})
}

func TestThePeopleDifferInRolesAndOrganisation(t *testing.T) {
	issuer := startIssuer(t)
	for name, expected := range map[string]struct {
		sub, fullName, org string
		roles              map[string]any
	}{
		"grace": {"300000000000000002", "Grace Hopper", "200000000000000001", map[string]any{
			"user":        map[string]any{"200000000000000001": "kombisphere.localhost"},
			"admin:tools": map[string]any{"200000000000000001": "kombisphere.localhost"},
		}},
		"mallory": {"300000000000000003", "Mallory Stranger", "200000000000000002", map[string]any{
			"user": map[string]any{"200000000000000002": "strangers.localhost"},
		}},
	} {
		claims := issuer.verify(issuer.mint(fmt.Sprintf(`{"sub": %q}`, name))).claims
		found := []any{claims["sub"], claims["name"], claims[claimOwnerID], claims[claimRoles]}
		wanted := []any{expected.sub, expected.fullName, expected.org, expected.roles}
		if !reflect.DeepEqual(found, wanted) {
			t.Errorf("%s: expected %v, found %v", name, wanted, found)
		}
	}
}

func TestAnIdOfNobodyHasNoProfileAndNoRoles(t *testing.T) {
	issuer := startIssuer(t)
	claims := issuer.verify(issuer.mint(`{"sub": "400000000000000001"}`)).claims
	if claims["sub"] != "400000000000000001" {
		t.Errorf("expected the id as sub, found %v", claims["sub"])
	}
	for _, name := range []string{"email", "email_verified", "name", "preferred_username", claimRoles} {
		if value, found := claims[name]; found {
			t.Errorf("expected no %s, found %v", name, value)
		}
	}
}

func TestAnOrderOverridesThePerson(t *testing.T) {
	issuer := startIssuer(t)
	now := float64(time.Now().Unix())
	claims := issuer.verify(issuer.mint(`{
		"sub": "ada", "issuer": "https://evil.example", "audience": ["one", "two"],
		"expires_in": -60, "not_before_in": 120, "issued_in": -600,
		"roles": ["admin:billing"], "organisation": "7",
		"email": "other@example.com", "email_verified": false, "name": "Other"
	}`)).claims
	for name, after := range map[string]float64{"iat": -600, "nbf": 120, "exp": -60} {
		found, _ := claims[name].(float64)
		if found < now+after || found > now+after+deadline.Seconds() {
			t.Errorf("expected %s %.0f s after %.0f, found %.0f", name, after, now, found)
		}
		delete(claims, name)
	}
	delete(claims, "jti")
	roles := map[string]any{"admin:billing": map[string]any{"7": "7.localhost"}}
	expectClaims(t, claims, map[string]any{
		"iss":                               "https://evil.example",
		"sub":                               adaID,
		"aud":                               []any{"one", "two"},
		"client_id":                         "portal",
		"urn:zitadel:iam:org:project:roles": roles,
		"urn:zitadel:iam:org:project:" + testProject + ":roles": roles,
		"urn:zitadel:iam:user:resourceowner:id":                 "7",
		"urn:zitadel:iam:user:resourceowner:name":               "7",
		"urn:zitadel:iam:user:resourceowner:primary_domain":     "7.localhost",
		"email":              "other@example.com",
		"email_verified":     false,
		"name":               "Other",
		"preferred_username": "ada@kombisphere.localhost",
	})
}

func TestEmptyListsAreNotDefaults(t *testing.T) {
	issuer := startIssuer(t)
	claims := issuer.verify(issuer.mint(`{"sub": "ada", "audience": [], "roles": []}`)).claims
	if audience, _ := claims["aud"].([]any); audience == nil || len(audience) != 0 {
		t.Errorf("expected an empty audience, found %v", claims["aud"])
	}
	if roles, found := claims[claimRoles]; found {
		t.Errorf("expected no roles, found %v", roles)
	}
}

func TestClaimsAreMergedLastAndNullRemovesOne(t *testing.T) {
	issuer := startIssuer(t)
	token := issuer.mint(`{"sub": "ada", "email": "lost@example.com", "claims": {
		"email": "won@example.com", "exp": null, "jti": null, "aud": "alone", "amr": ["pwd"], "big": 9007199254740993
	}}`)
	claims := issuer.verify(token).claims
	for _, name := range []string{"exp", "jti"} {
		if value, found := claims[name]; found {
			t.Errorf("expected no %s, found %v", name, value)
		}
	}
	for name, expected := range map[string]any{
		"email": "won@example.com", "aud": "alone", "amr": []any{"pwd"}, "sub": adaID,
	} {
		if !reflect.DeepEqual(claims[name], expected) {
			t.Errorf("expected %s %v, found %v", name, expected, claims[name])
		}
	}
	var written map[string]json.RawMessage
	if err := parse(t, token).UnsafeClaimsWithoutVerification(&written); err != nil {
		t.Fatal(err)
	}
	if found := string(written["big"]); found != "9007199254740993" {
		t.Errorf("expected the number as it was written, found %s", found)
	}
}

func TestEachAlgorithmSignsWhatItsPublishedKeyVerifies(t *testing.T) {
	issuer := startIssuer(t)
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		token := issuer.verify(issuer.mint(fmt.Sprintf(`{"sub": "ada", "algorithm": %q}`, algorithm)))
		if token.header.Algorithm != algorithm {
			t.Errorf("expected %s, found %s", algorithm, token.header.Algorithm)
		}
	}
}

func TestTheHeaderNamesTheKeyItIsToldTo(t *testing.T) {
	issuer := startIssuer(t)
	for _, kid := range []string{"unheard-of", ""} {
		answer := issuer.order("/test/mint", fmt.Sprintf(`{"sub": "ada", "kid": %q}`, kid))
		found := parse(t, answer["access_token"].(string)).Headers[0].KeyID
		if found != kid || answer["kid"] != kid {
			t.Errorf("expected the kid %q, found %q and the answer %v", kid, found, answer["kid"])
		}
	}
}

func TestWrongOrdersAreRefused(t *testing.T) {
	issuer := startIssuer(t)
	for _, wrong := range []struct {
		path, order string
		status      int
		reason      string
	}{
		{"/test/mint", `{}`, 400, "sub"},
		{"/test/mint", `{"sub": "ada", "expire_in": 5}`, 400, "expire_in"},
		{"/test/mint", `{"sub": "ada", "algorithm": "HS256"}`, 400, "algorithm"},
		{"/test/mint", `{"sub": "ada", "algorithm": "none"}`, 400, "algorithm"},
		// Known, but no such key is held.
		{"/test/mint", `{"sub": "ada", "algorithm": "ES384"}`, 400, "algorithm"},
		{"/test/mint", `{"sub": "ada", "expires_in": 0.5}`, 400, "expires_in"},
		{"/test/mint", `{"sub": "ada"} {}`, 400, "more"},
		{"/test/mint", ``, 400, "JSON"},
		{"/test/mint", `{"sub": "` + strings.Repeat("a", maxBodyBytes) + `"}`, 413, "too large"},
		{"/test/rotate", `{"algorithm": "HS256"}`, 400, "algorithm"},
		{"/test/rotate", `{"drop": true}`, 400, "drop"},
	} {
		var answer map[string]string
		response := issuer.send(http.MethodPost, wrong.path, wrong.order, &answer)
		if response.StatusCode != wrong.status || !strings.Contains(answer["error"], wrong.reason) {
			t.Errorf("%s %.80s: expected %d because of %s, found %d: %v",
				wrong.path, wrong.order, wrong.status, wrong.reason, response.StatusCode, answer)
		}
	}
}

func expectClaims(t *testing.T, found, expected map[string]any) {
	t.Helper()
	for name, value := range expected {
		if !reflect.DeepEqual(found[name], value) {
			t.Errorf("expected %s %v, found %v", name, value, found[name])
		}
	}
	for name, value := range found {
		if _, known := expected[name]; !known {
			t.Errorf("expected no %s, found %v", name, value)
		}
	}
}
