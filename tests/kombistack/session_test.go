package main

import (
	"net/http"
	"strings"
	"sync"
	"testing"
)

const localPassword = "a local password"

func TestSession(t *testing.T) {
	t.Parallel()
	i := startInstance(t)

	t.Run("a new sub makes a user", func(t *testing.T) {
		i := i.in(t)
		_, record := expectSession(t, i.openSession("new", verifiedUser("new@example.com")), "created")

		for name, expected := range map[string]any{
			"email": "new@example.com", "verified": true, "name": "Ada Lovelace", "emailVisibility": false,
		} {
			if record[name] != expected {
				t.Errorf("expected %s to be %v, found %v", name, expected, record[name])
			}
		}
		if stored := i.user(record["id"].(string)); stored["zitadel_sub"] != "new" {
			t.Errorf("expected the user to be linked to the sub, found %v", stored["zitadel_sub"])
		}
	})

	t.Run("a name outside of ASCII arrives unchanged", func(t *testing.T) {
		i := i.in(t)
		person := verifiedUser("zoe@example.com")
		person["name"] = "Zoë Müller 🚀"
		_, record := expectSession(t, i.openSession("zoe", person), "created")

		if record["name"] != person["name"] {
			t.Errorf("expected name %q, found %q", person["name"], record["name"])
		}
	})

	t.Run("the same sub finds its user", func(t *testing.T) {
		i := i.in(t)
		_, first := expectSession(t, i.openSession("again", verifiedUser("again@example.com")), "created")
		_, second := expectSession(t, i.openSession("again", verifiedUser("again@example.com")), "found")

		if first["id"] != second["id"] {
			t.Errorf("expected the same user, found %v and %v", first["id"], second["id"])
		}
	})

	t.Run("subs that differ in case are different people", func(t *testing.T) {
		i := i.in(t)
		expectSession(t, i.openSession("case", verifiedUser("case-1@example.com")), "created")
		expectSession(t, i.openSession("CASE", verifiedUser("case-2@example.com")), "created")
	})

	t.Run("a changed address and name are not copied", func(t *testing.T) {
		i := i.in(t)
		expectSession(t, i.openSession("moved", verifiedUser("before@example.com")), "created")
		_, record := expectSession(t, i.openSession("moved", claims{
			"email": "after@example.com", "email_verified": true, "name": "Somebody Else",
		}), "found")

		if record["email"] != "before@example.com" || record["name"] != "Ada Lovelace" {
			t.Errorf("expected the user unchanged, found %v, %v", record["email"], record["name"])
		}
	})

	t.Run("an address verified on both sides links whatever its case", func(t *testing.T) {
		for sub, email := range map[string]string{"same": "same@example.com", "upper": "UPPER@Example.COM"} {
			i := i.in(t)
			local := i.addUser(map[string]any{"email": strings.ToLower(email), "verified": true, "name": "Local"})
			_, record := expectSession(t, i.openSession(sub, verifiedUser(email)), "linked")

			if record["id"] != local["id"] || record["email"] != strings.ToLower(email) || record["name"] != "Local" {
				t.Errorf("expected the local user unchanged, found %v", record)
			}
			expectSession(t, i.openSession(sub, verifiedUser(email)), "found")
			i.signIn("users", strings.ToLower(email), localPassword)
		}
	})

	t.Run("an address stored in capitals is the same address", func(t *testing.T) {
		i := i.in(t)
		i.addUser(map[string]any{"email": "Capital@Example.com", "verified": true})
		expectSession(t, i.openSession("capital", verifiedUser("capital@example.com")), "linked")
	})

	t.Run("a letter that only Unicode folds is another address", func(t *testing.T) {
		i := i.in(t)
		local := i.addUser(map[string]any{"email": "kelvin@example.com", "verified": true})
		got := i.openSession("impostor", verifiedUser("\u212Aelvin@example.com"))

		if got.status == http.StatusOK && got.body["record"].(map[string]any)["id"] == local["id"] {
			t.Fatalf("expected another user or none, found the local one: %s", got.raw)
		}
		if stored := i.user(local["id"].(string)); stored["zitadel_sub"] != "" {
			t.Errorf("expected the local user unlinked, found %v", stored["zitadel_sub"])
		}
	})

	t.Run("the token opens a record and can be refreshed", func(t *testing.T) {
		i := i.in(t)
		if guest := i.mustCall(http.MethodGet, "/api/collections/homelabs/records", "", nil); guest.body["totalItems"] != 0.0 {
			t.Fatalf("expected a guest to see nothing, found %s", guest.raw)
		}
		token, record := expectSession(t, i.openSession("opener", verifiedUser("opener@example.com")), "created")

		opened := i.mustCall(http.MethodGet, "/api/collections/homelabs/records", token, nil)
		if opened.body["totalItems"] != 1.0 || !strings.Contains(opened.raw, demoHomelab) {
			t.Errorf("expected the demo homelab, found %s", opened.raw)
		}
		refreshed := i.mustCall(http.MethodPost, "/api/collections/users/auth-refresh", token, nil)
		if refreshed.body["record"].(map[string]any)["id"] != record["id"] || refreshed.body["token"] == "" {
			t.Errorf("expected a token for the same user, found %s", refreshed.raw)
		}
	})
}

func TestFirstSignInsAtOnceMakeOneUser(t *testing.T) {
	t.Parallel()
	i := startInstance(t)
	const people = 50

	answers := make([]answer, people)
	failures := make([]error, people)
	var group sync.WaitGroup
	for n := range people {
		group.Go(func() {
			compact := sign(hs256, requestFor("crowd", verifiedUser("crowd@example.com")), instanceKey)
			request, err := http.NewRequest(http.MethodPost, i.baseURL+hookPath, strings.NewReader(`{"request":"`+compact+`"}`))
			if err != nil {
				failures[n] = err
				return
			}
			request.Header.Set("Content-Type", "application/json")
			answers[n], failures[n] = send(request)
		})
	}
	group.Wait()

	origins := map[any]int{}
	ids := map[any]bool{}
	for n, got := range answers {
		if failures[n] != nil || got.status != http.StatusOK {
			t.Fatalf("expected a session, found %v, %d: %s", failures[n], got.status, got.raw)
		}
		origins[got.body["meta"].(map[string]any)["kombisphere"]]++
		ids[got.body["record"].(map[string]any)["id"]] = true
	}
	if origins["created"] != 1 || origins["found"] != people-1 || len(ids) != 1 {
		t.Errorf("expected 1 created, %d found and one user, found %v and %d users", people-1, origins, len(ids))
	}
	if stored := i.users("zitadel_sub = 'crowd'"); len(stored) != 1 {
		t.Errorf("expected one user in the collection, found %d", len(stored))
	}
}

func TestASecondFactorOfTheCollectionIsNotAskedFor(t *testing.T) {
	t.Parallel()
	i := startInstance(t)
	i.changeUsers(func(users map[string]any) {
		users["mfa"] = map[string]any{"enabled": true, "duration": 600, "rule": ""}
		users["otp"] = map[string]any{"enabled": true, "duration": 300, "length": 8}
	})

	expectSession(t, i.openSession("factor", verifiedUser("factor@example.com")), "created")
	expectSession(t, i.openSession("factor", verifiedUser("factor@example.com")), "found")
}
