package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestAccountCollision(t *testing.T) {
	t.Parallel()
	i := startInstance(t)
	refused := func(t *testing.T, i *instance, sub string, changes claims) {
		t.Helper()
		expectRefusal(t, i.openSession(sub, changes), http.StatusConflict, "account_collision")
		if found := i.users("zitadel_sub = '" + sub + "'"); len(found) != 0 {
			t.Errorf("expected nobody to be linked, found %v", found)
		}
	}

	t.Run("a local user who is not verified", func(t *testing.T) {
		i := i.in(t)
		i.addUser(map[string]any{"email": "squatter@example.com", "verified": false})
		refused(t, i, "victim", verifiedUser("squatter@example.com"))
	})

	t.Run("an address that the issuer has not verified", func(t *testing.T) {
		i := i.in(t)
		i.addUser(map[string]any{"email": "target@example.com", "verified": true})
		refused(t, i, "attacker", claims{"email": "target@example.com", "email_verified": false})
		refused(t, i, "attacker", claims{"email": "Target@example.com"})
	})

	t.Run("neither side verified", func(t *testing.T) {
		i := i.in(t)
		i.addUser(map[string]any{"email": "neither@example.com", "verified": false})
		refused(t, i, "neither", claims{"email": "neither@example.com"})
	})

	t.Run("a local user linked to somebody else", func(t *testing.T) {
		i := i.in(t)
		_, owner := expectSession(t, i.openSession("owner", verifiedUser("taken@example.com")), "created")
		refused(t, i, "other", verifiedUser("Taken@example.com"))
		if stored := i.user(owner["id"].(string)); stored["zitadel_sub"] != "owner" {
			t.Errorf("expected the owner to stay linked, found %v", stored["zitadel_sub"])
		}
	})

	t.Run("two local users whose addresses differ in case", func(t *testing.T) {
		i := i.in(t)
		i.addUser(map[string]any{"email": "twin@example.com", "verified": true})
		i.addUser(map[string]any{"email": "Twin@example.com", "verified": true})
		refused(t, i, "twin", verifiedUser("twin@example.com"))
	})
}

func TestAccountIncomplete(t *testing.T) {
	t.Parallel()
	i := startInstance(t)
	i.changeUsers(func(users map[string]any) { field(users, "name")["required"] = true })

	for name, c := range map[string]struct {
		changes claims
		names   string
	}{
		"no address":         {claims{"name": "Ada"}, "email"},
		"an unsure address":  {claims{"name": "Ada", "email": "unsure@example.com"}, "email"},
		"a broken address":   {claims{"name": "Ada", "email": "not-an-address", "email_verified": true}, "email"},
		"no name":            {claims{"email": "nameless@example.com", "email_verified": true}, "name"},
		"a name too long":    {claims{"email": "long@example.com", "email_verified": true, "name": strings.Repeat("n", 256)}, "name"},
		"neither":            {nil, "email, name"},
		"a name of no words": {claims{"email": "empty@example.com", "email_verified": true, "name": ""}, "name"},
	} {
		t.Run(name, func(t *testing.T) {
			i := i.in(t)
			message := expectRefusal(t, i.openSession("incomplete", c.changes), http.StatusUnprocessableEntity, "account_incomplete")
			if !strings.Contains(message, "found "+c.names+" missing") {
				t.Errorf("expected the message to name %s, found %q", c.names, message)
			}
			for claim, value := range c.changes {
				if text, isText := value.(string); isText && text != "" && strings.Contains(message, text) {
					t.Errorf("expected the message not to tell %s, found %q", claim, message)
				}
			}
			if found := i.users("zitadel_sub = 'incomplete'"); len(found) != 0 {
				t.Errorf("expected no user, found %v", found)
			}
		})
	}
}

func TestAnAddressIsNotAskedForWhereTheCollectionNeedsNone(t *testing.T) {
	t.Parallel()
	i := startInstance(t)
	i.changeUsers(func(users map[string]any) { field(users, "email")["required"] = false })

	_, first := expectSession(t, i.openSession("first", claims{"email_verified": true}), "created")
	_, second := expectSession(t, i.openSession("second", claims{"email": "unsure@example.com"}), "created")
	if second["email"] != "" || second["verified"] != false {
		t.Errorf("expected an address that is not verified not to be written, found %v, verified %v", second["email"], second["verified"])
	}
	if first["id"] == second["id"] {
		t.Errorf("expected users without an address not to be one, found %v twice", first["id"])
	}
	if first["verified"] != false {
		t.Errorf("expected a user without an address to be unverified, found %v", first["verified"])
	}
}

func TestAccountRefusedLeavesNoTrace(t *testing.T) {
	t.Parallel()
	i := startInstance(t)
	local := i.addUser(map[string]any{"email": "banned@example.com", "verified": true, "name": "Banned"})
	_, known := expectSession(t, i.openSession("known", verifiedUser("known@example.com")), "created")
	i.changeUsers(func(users map[string]any) { users["authRule"] = `name = "Welcome"` })

	t.Run("no new user", func(t *testing.T) {
		i := i.in(t)
		expectRefusal(t, i.openSession("new", verifiedUser("new@example.com")), http.StatusForbidden, "account_refused")
		if found := i.users("email = 'new@example.com'"); len(found) != 0 {
			t.Errorf("expected no user, found %v", found)
		}
	})

	t.Run("no new link", func(t *testing.T) {
		i := i.in(t)
		expectRefusal(t, i.openSession("linking", verifiedUser("banned@example.com")), http.StatusForbidden, "account_refused")
		if stored := i.user(local["id"].(string)); stored["zitadel_sub"] != "" {
			t.Errorf("expected no link, found %v", stored["zitadel_sub"])
		}
	})

	t.Run("a known user is kept out", func(t *testing.T) {
		i := i.in(t)
		expectRefusal(t, i.openSession("known", nil), http.StatusForbidden, "account_refused")
		if stored := i.user(known["id"].(string)); stored["zitadel_sub"] != "known" {
			t.Errorf("expected the link to stay, found %v", stored["zitadel_sub"])
		}
	})

	t.Run("a superuser's token does not lift the rule", func(t *testing.T) {
		i := i.in(t)
		compact := sign(hs256, requestFor("known", nil), instanceKey)
		got := i.call(http.MethodPost, hookPath, i.superuser, map[string]any{"request": compact})
		expectRefusal(t, got, http.StatusForbidden, "account_refused")
	})

	t.Run("the rule lets others in", func(t *testing.T) {
		i := i.in(t)
		welcome := verifiedUser("welcome@example.com")
		welcome["name"] = "Welcome"
		expectSession(t, i.openSession("welcome", welcome), "created")
	})

	t.Run("a collection that nobody may sign in to", func(t *testing.T) {
		i := i.in(t)
		i.changeUsers(func(users map[string]any) { users["authRule"] = nil })
		expectRefusal(t, i.openSession("welcome", nil), http.StatusForbidden, "account_refused")
	})
}
