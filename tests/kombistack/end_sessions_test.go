package main

import (
	"net/http"
	"testing"
)

const endPath = "/api/kombisphere/end-sessions"

// endRequestFor is a request to end the sessions of sub; changes replace claims.
func endRequestFor(sub string, changes claims) string {
	all := claims{"aud": instanceID + "#end-sessions"}
	for name, value := range changes {
		all[name] = value
	}
	return sign(hs256, requestFor(sub, all), instanceKey)
}

// end hands a compact JWS to the hook that ends sessions.
func (i *instance) end(compact string) answer {
	i.t.Helper()
	return i.call(http.MethodPost, endPath, "", map[string]any{"request": compact})
}

func TestEndSessions(t *testing.T) {
	t.Parallel()
	i := startInstance(t)

	t.Run("every token of that user is void at once, and nobody else's", func(t *testing.T) {
		i := i.in(t)
		first, _ := expectSession(t, i.openSession("ended", verifiedUser("ended@example.com")), "created")
		second, _ := expectSession(t, i.openSession("ended", verifiedUser("ended@example.com")), "found")
		other, _ := expectSession(t, i.openSession("other", verifiedUser("other@example.com")), "created")

		if got := i.end(endRequestFor("ended", nil)); got.status != http.StatusOK || got.body["ended"] != true {
			t.Fatalf("expected the sessions to be ended, found %d: %s", got.status, got.raw)
		}
		for _, token := range []string{first, second} {
			if got := i.refresh(token); got.status != http.StatusUnauthorized {
				t.Errorf("expected the token to be void, found %d: %s", got.status, got.raw)
			}
		}
		if got := i.refresh(other); got.status != http.StatusOK {
			t.Errorf("expected another user's token to be good, found %d: %s", got.status, got.raw)
		}
		again, _ := expectSession(t, i.openSession("ended", verifiedUser("ended@example.com")), "found")
		if got := i.refresh(again); got.status != http.StatusOK {
			t.Errorf("expected a later session to be good, found %d: %s", got.status, got.raw)
		}
	})

	t.Run("the local password is as it was", func(t *testing.T) {
		i := i.in(t)
		i.addUser(map[string]any{"email": "local@example.com", "verified": true})
		expectSession(t, i.openSession("local", verifiedUser("local@example.com")), "linked")
		i.end(endRequestFor("local", nil))
		i.signIn("users", "local@example.com", localPassword)
	})

	t.Run("nobody is nothing to end", func(t *testing.T) {
		i := i.in(t)
		if got := i.end(endRequestFor("nobody", nil)); got.status != http.StatusOK || got.body["ended"] != false {
			t.Errorf("expected nothing to be ended, found %d: %s", got.status, got.raw)
		}
	})

	t.Run("a request is good for one of both paths, and once", func(t *testing.T) {
		i := i.in(t)
		compact := endRequestFor("nobody", nil)
		expectRefusal(t, i.present(compact), http.StatusUnauthorized, "request_invalid")
		expectRefusal(t, i.end(endRequestFor("nobody", claims{"aud": instanceID})), http.StatusUnauthorized, "request_invalid")
		once := endRequestFor("nobody", nil)
		i.end(once)
		expectRefusal(t, i.end(once), http.StatusUnauthorized, "request_invalid")
	})
}

// refresh asks PocketBase for another token in place of this one.
func (i *instance) refresh(token string) answer {
	i.t.Helper()
	return i.call(http.MethodPost, "/api/collections/users/auth-refresh", token, nil)
}
