package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const usersPath = "/api/collections/users/records"

func TestTheLinkIsHiddenFromItsOwner(t *testing.T) {
	t.Parallel()
	i := startInstance(t)
	// No rule of the collection's own may be what hides the link.
	i.changeUsers(func(users map[string]any) {
		users["listRule"], users["viewRule"], users["updateRule"] = "", "", ""
	})
	got := i.openSession("secret-sub", verifiedUser("owner@example.com"))
	token, record := expectSession(t, got, "created")
	id := record["id"].(string)

	t.Run("it is in no answer", func(t *testing.T) {
		i := i.in(t)
		for name, found := range map[string]answer{
			"session": got,
			"refresh": i.mustCall(http.MethodPost, "/api/collections/users/auth-refresh", token, nil),
			"view":    i.mustCall(http.MethodGet, usersPath+"/"+id, token, nil),
			"fields":  i.mustCall(http.MethodGet, usersPath+"/"+id+"?fields=*,zitadel_sub", token, nil),
			"list":    i.mustCall(http.MethodGet, usersPath, token, nil),
			"update":  i.mustCall(http.MethodPatch, usersPath+"/"+id, token, map[string]any{"name": "New"}),
		} {
			if strings.Contains(found.raw, "zitadel_sub") || strings.Contains(found.raw, "secret-sub") {
				t.Errorf("expected no link in %s, found %s", name, found.raw)
			}
		}
	})

	t.Run("it can be neither filtered nor sorted by", func(t *testing.T) {
		i := i.in(t)
		for _, path := range []string{
			usersPath + "?filter=" + url.QueryEscape(`zitadel_sub = "secret-sub"`),
			usersPath + "?filter=" + url.QueryEscape(`zitadel_sub ~ "s%"`),
			usersPath + "?sort=zitadel_sub",
			usersPath + "?sort=-zitadel_sub",
			"/api/collections/homelabs/records?filter=" + url.QueryEscape(`owner.zitadel_sub != ""`),
			"/api/collections/homelabs/records?sort=owner.zitadel_sub",
		} {
			if refused := i.call(http.MethodGet, path, token, nil); refused.status != http.StatusBadRequest {
				t.Errorf("%s: expected 400, found %d: %s", path, refused.status, refused.raw)
			}
		}
	})

	t.Run("it is not written by clients", func(t *testing.T) {
		i := i.in(t)
		for _, name := range []string{"zitadel_sub", "zitadel_sub:autogenerate", "zitadel_sub+", "+zitadel_sub"} {
			i.mustCall(http.MethodPatch, usersPath+"/"+id, token, map[string]any{name: "other-sub"})
			if stored := i.user(id); stored["zitadel_sub"] != "secret-sub" {
				t.Fatalf("%s: expected the link unchanged, found %v", name, stored["zitadel_sub"])
			}

			created := i.mustCall(http.MethodPost, usersPath, "", map[string]any{
				"email": "squat" + url.QueryEscape(name) + "@example.com", name: "victims-sub",
				"password": localPassword, "passwordConfirm": localPassword,
			})
			if stored := i.user(created.body["id"].(string)); stored["zitadel_sub"] != "" {
				t.Fatalf("%s: expected a new user without a link, found %v", name, stored["zitadel_sub"])
			}
		}
	})

	t.Run("it is not written by a user who manages others", func(t *testing.T) {
		i := i.in(t)
		i.changeUsers(func(users map[string]any) { users["manageRule"] = `@request.auth.id != ""` })
		i.mustCall(http.MethodPatch, usersPath+"/"+id, token, map[string]any{"zitadel_sub": "other-sub"})
		if stored := i.user(id); stored["zitadel_sub"] != "secret-sub" {
			t.Fatalf("expected the link unchanged, found %v", stored["zitadel_sub"])
		}
	})

	t.Run("a superuser reads, finds and changes it", func(t *testing.T) {
		i := i.in(t)
		if found := i.users(`zitadel_sub = "secret-sub"`); len(found) != 1 || found[0]["id"] != id {
			t.Fatalf("expected the user, found %v", found)
		}
		i.mustCall(http.MethodPatch, usersPath+"/"+id, i.superuser, map[string]any{"zitadel_sub": "new-sub"})
		_, record := expectSession(t, i.openSession("new-sub", nil), "found")
		if record["id"] != id {
			t.Errorf("expected the user to follow the link, found %v", record["id"])
		}
	})

	t.Run("two users never share one", func(t *testing.T) {
		i := i.in(t)
		other := i.addUser(map[string]any{"email": "other@example.com", "verified": true})
		refused := i.call(http.MethodPatch, usersPath+"/"+other["id"].(string), i.superuser, map[string]any{"zitadel_sub": "new-sub"})
		if refused.status != http.StatusBadRequest || !strings.Contains(refused.raw, "validation_not_unique") {
			t.Errorf("expected a uniqueness error, found %d: %s", refused.status, refused.raw)
		}
	})
}

func TestTheLinkStaysClosedWhenItIsNoLongerHidden(t *testing.T) {
	t.Parallel()
	i := startInstance(t)
	i.changeUsers(func(users map[string]any) {
		field(users, "zitadel_sub")["hidden"] = false
		users["updateRule"] = ""
	})
	token, record := expectSession(t, i.openSession("visible", verifiedUser("visible@example.com")), "created")
	path := usersPath + "/" + record["id"].(string)

	for name, refused := range map[string]answer{
		"update by the owner": i.call(http.MethodPatch, path, token, map[string]any{"zitadel_sub": "stolen"}),
		"update by a guest":   i.call(http.MethodPatch, path, "", map[string]any{"zitadel_sub": ""}),
		"sign-up": i.call(http.MethodPost, usersPath, "", map[string]any{
			"email": "squat@example.com", "zitadel_sub": "stolen",
			"password": localPassword, "passwordConfirm": localPassword,
		}),
	} {
		if refused.status != http.StatusForbidden {
			t.Errorf("%s: expected 403, found %d: %s", name, refused.status, refused.raw)
		}
	}
	if found := i.users(`zitadel_sub = "visible"`); len(found) != 1 {
		t.Errorf("expected the link unchanged, found %v", found)
	}
	i.mustCall(http.MethodPatch, path, token, map[string]any{"name": "Still mine", "zitadel_sub": "visible"})
}
