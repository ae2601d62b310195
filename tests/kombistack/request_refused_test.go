package main

import (
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRequestInvalid(t *testing.T) {
	t.Parallel()
	i := startInstance(t)
	now := time.Now().Unix()

	rawKey, err := base64.RawURLEncoding.DecodeString(instanceKey)
	if err != nil {
		t.Fatal(err)
	}
	person := verifiedUser("nobody@example.com")
	inOrder := requestFor("nobody", person)
	changed := func(name string, value any) string {
		changes := maps.Clone(person)
		changes[name] = value
		return sign(hs256, requestFor("nobody", changes), instanceKey)
	}
	header := func(header map[string]any) string { return sign(header, inOrder, instanceKey) }
	unsigned := encodeJSON(map[string]any{"alg": "none"}) + "." + encodeJSON(inOrder) + "."

	for name, compact := range map[string]string{
		"another key":                  sign(hs256, inOrder, strings.Repeat("A", 43)),
		"the key as bytes":             sign(hs256, inOrder, string(rawKey)),
		"an empty key":                 sign(hs256, inOrder, ""),
		"a changed payload":            encodeJSON(hs256) + "." + encodeJSON(claims{"sub": "admin"}) + "." + signatureOf(header(hs256)),
		"a fourth part":                header(hs256) + ".x",
		"a payload of null":            sign(hs256, nil, instanceKey),
		"a padded signature":           header(hs256) + "=",
		"alg none, unsigned":           unsigned,
		"alg none, signed":             header(map[string]any{"alg": "none"}),
		"alg in another case":          header(map[string]any{"alg": "hs256"}),
		"alg HS512":                    header(map[string]any{"alg": "HS512"}),
		"no alg":                       header(map[string]any{"typ": "JWT"}),
		"a critical header":            header(map[string]any{"alg": "HS256", "crit": []string{"exp"}, "exp": now}),
		"a key of its own":             header(map[string]any{"alg": "HS256", "jwk": map[string]any{"kty": "oct", "k": "AA"}}),
		"a payload that is no object":  sign(hs256, []string{"nobody"}, instanceKey),
		"another issuer":               changed("iss", "kombi-gate"),
		"no issuer":                    changed("iss", nil),
		"another instance":             changed("aud", "homelab-2"),
		"several instances":            changed("aud", []string{instanceID}),
		"no instance":                  changed("aud", nil),
		"expired beyond the skew":      sign(hs256, requestFor("nobody", claims{"iat": now - 36, "exp": now - 6}), instanceKey),
		"issued in the future":         sign(hs256, requestFor("nobody", claims{"iat": now + 3600, "exp": now + 3620}), instanceKey),
		"living too long":              changed("exp", now+32),
		"expiring before it is issued": changed("exp", now-1),
		"no exp":                       changed("exp", nil),
		"no iat":                       changed("iat", nil),
		"exp as text":                  changed("exp", "tomorrow"),
		"no jti":                       changed("jti", nil),
		"an empty jti":                 changed("jti", ""),
		"jti as a number":              changed("jti", 1),
		"no sub":                       changed("sub", nil),
		"an empty sub":                 changed("sub", ""),
		"sub as a number":              changed("sub", 1),
		"sub too long":                 changed("sub", strings.Repeat("s", 256)),
		"email as a list":              changed("email", []string{"nobody@example.com"}),
		"email_verified as text":       changed("email_verified", "true"),
		"name as a number":             changed("name", 1),
		"no JWS":                       "nobody",
		"nothing":                      "",
	} {
		t.Run(name, func(t *testing.T) {
			expectRefusal(t, i.in(t).present(compact), http.StatusUnauthorized, "request_invalid")
		})
	}

	for name, body := range map[string]any{
		"no body":              nil,
		"broken JSON":          `{"request":`,
		"no request":           map[string]any{},
		"request as an object": map[string]any{"request": inOrder},
	} {
		t.Run(name, func(t *testing.T) {
			got := i.in(t).call(http.MethodPost, hookPath, "", body)
			expectRefusal(t, got, http.StatusUnauthorized, "request_invalid")
		})
	}

	t.Run("none of them made a user", func(t *testing.T) {
		if found := i.in(t).users(""); len(found) != 0 {
			t.Errorf("expected no user, found %v", found)
		}
	})

	t.Run("a body beyond the limit is not read", func(t *testing.T) {
		if got := i.in(t).present(strings.Repeat("A", 17<<10)); got.status != http.StatusRequestEntityTooLarge {
			t.Errorf("expected 413, found %d: %s", got.status, got.raw)
		}
	})

	t.Run("only POST is answered", func(t *testing.T) {
		if got := i.in(t).call(http.MethodGet, hookPath, "", nil); got.status != http.StatusNotFound {
			t.Errorf("expected 404, found %d: %s", got.status, got.raw)
		}
	})

	t.Run("an error tells no values", func(t *testing.T) {
		got := i.in(t).present(changed("aud", "somebody-elses-homelab"))
		message := expectRefusal(t, got, http.StatusUnauthorized, "request_invalid")
		for _, secret := range []string{instanceKey, instanceID, "somebody-elses-homelab", "nobody"} {
			if strings.Contains(message, secret) {
				t.Errorf("expected no values in the message, found %q", message)
			}
		}
	})
}

func TestRequestOnTheEdgeIsAccepted(t *testing.T) {
	t.Parallel()
	i := startInstance(t)
	// An address that is not verified is not written, and these requests say nothing of that.
	i.changeUsers(func(users map[string]any) { field(users, "email")["required"] = false })

	for name, changes := range map[string]func(now int64) claims{
		"a clock ahead by less than the skew": func(now int64) claims { return claims{"iat": now + 4, "exp": now + 34} },
		"expired by less than the skew":       func(now int64) claims { return claims{"iat": now - 32, "exp": now - 2} },
		"a sub as long as may be":             func(int64) claims { return claims{"sub": strings.Repeat("s", 255)} },
		"claims that may be absent":           func(int64) claims { return claims{"name": nil, "email_verified": nil} },
	} {
		t.Run(name, func(t *testing.T) {
			edge := changes(time.Now().Unix())
			edge["email"] = strings.ReplaceAll(name, " ", "-") + "@example.com"
			expectSession(t, i.in(t).openSession(name, edge), "created")
		})
	}

	t.Run("a header without typ", func(t *testing.T) {
		payload := requestFor("no typ", verifiedUser("typ@example.com"))
		expectSession(t, i.in(t).present(sign(map[string]any{"alg": "HS256"}, payload, instanceKey)), "created")
	})
}

func TestARequestCountsOnce(t *testing.T) {
	t.Parallel()
	i := startInstance(t)

	t.Run("after a session", func(t *testing.T) {
		i := i.in(t)
		compact := sign(hs256, requestFor("replayed", verifiedUser("replayed@example.com")), instanceKey)
		expectSession(t, i.present(compact), "created")
		expectRefusal(t, i.present(compact), http.StatusUnauthorized, "request_invalid")
	})

	t.Run("after a refusal", func(t *testing.T) {
		i := i.in(t)
		compact := sign(hs256, requestFor("refused", nil), instanceKey)
		expectRefusal(t, i.present(compact), http.StatusUnprocessableEntity, "account_incomplete")
		expectRefusal(t, i.present(compact), http.StatusUnauthorized, "request_invalid")
	})

	t.Run("the same jti in another request", func(t *testing.T) {
		i := i.in(t)
		person := verifiedUser("first@example.com")
		person["jti"] = "a jti of choice"
		expectSession(t, i.openSession("first", person), "created")
		expectRefusal(t, i.openSession("second", person), http.StatusUnauthorized, "request_invalid")
	})
}

func signatureOf(compact string) string {
	return compact[strings.LastIndex(compact, ".")+1:]
}
