package main

import (
	"maps"
	"net/http"
	"testing"
)

const orderPath = "/api/kombisphere/account"

// orderFor is an order as the exchange makes it.
func orderFor(sub string, changes claims) claims {
	payload := requestFor(sub, claims{"aud": instanceID + "#account"})
	maps.Copy(payload, changes)
	maps.DeleteFunc(payload, func(_ string, value any) bool { return value == nil })
	return payload
}

// order asks the hook for something that is not a session, with a request that is in order.
func (i *instance) order(what, sub string, more claims) answer {
	i.t.Helper()
	payload := orderFor(sub, more)
	payload["do"] = what
	return i.call(http.MethodPost, orderPath, "", map[string]any{"request": sign(hs256, payload, instanceKey)})
}

// expectDone asserts that an order was carried out on the record, and whether that changed anything.
func expectDone(t *testing.T, got answer, record any, changed bool) {
	t.Helper()
	if got.status != http.StatusOK || got.body["record"] != record || got.body["changed"] != changed {
		t.Errorf("expected record %v, changed %v, found %d: %s", record, changed, got.status, got.raw)
	}
	if found := got.header.Get("Cache-Control"); found != "no-store" {
		t.Errorf("expected Cache-Control no-store, found %q", found)
	}
}

func TestOrders(t *testing.T) {
	t.Parallel()
	i := startInstance(t)

	t.Run("flags are set, by version, and the user sees them", func(t *testing.T) {
		i := i.in(t)
		token, record := expectSession(t, i.openSession("flags", verifiedUser("flags@example.com")), "created")
		id := record["id"]
		set := func(version int, flags any) answer {
			return i.order("set_flags", "flags", claims{"version": version, "flags": flags})
		}

		expectDone(t, set(2, map[string]any{"beta": true, "theme": "dark"}), id, true)
		expectDone(t, set(2, map[string]any{"theme": "dark", "beta": true}), id, false)
		expectRefusal(t, set(1, map[string]any{"beta": false}), http.StatusConflict, "flags_outdated")
		seen := i.mustCall(http.MethodGet, "/api/collections/users/records/"+id.(string), token, nil).body
		there, _ := seen["feature_flags"].(map[string]any)
		flags, _ := there["flags"].(map[string]any)
		if there["version"] != 2.0 || flags["beta"] != true || flags["theme"] != "dark" {
			t.Errorf("expected version 2 as the user sees it, found %v", seen["feature_flags"])
		}

		i.mustCall(http.MethodPatch, "/api/collections/users/records/"+id.(string), i.superuser,
			map[string]any{"feature_flags": map[string]any{"version": 2, "flags": map[string]any{"beta": false}}})
		expectDone(t, set(2, map[string]any{"beta": true, "theme": "dark"}), id, true)
		expectDone(t, set(3, map[string]any{}), id, true)
	})

	t.Run("nobody sets their own flags", func(t *testing.T) {
		i := i.in(t)
		token, record := expectSession(t, i.openSession("own", verifiedUser("own@example.com")), "created")
		mine := map[string]any{"feature_flags": map[string]any{"version": 9, "flags": map[string]any{"beta": true}}}
		path := "/api/collections/users/records"

		if got := i.call(http.MethodPatch, path+"/"+record["id"].(string), token, mine); got.status != http.StatusForbidden {
			t.Errorf("expected 403, found %d: %s", got.status, got.raw)
		}
		mine["email"], mine["password"], mine["passwordConfirm"] = "fresh@example.com", localPassword, localPassword
		if got := i.call(http.MethodPost, path, "", mine); got.status != http.StatusForbidden {
			t.Errorf("expected 403 for who signs up with flags, found %d: %s", got.status, got.raw)
		}
		delete(mine, "feature_flags")
		i.mustCall(http.MethodPost, path, "", mine)
	})

	t.Run("a user is linked and unlinked", func(t *testing.T) {
		i := i.in(t)
		id := i.addUser(map[string]any{"email": "local@example.com"})["id"]
		other := i.addUser(map[string]any{"email": "other@example.com"})["id"]

		expectDone(t, i.order("link", "linked", claims{"record": id}), id, true)
		expectDone(t, i.order("link", "linked", claims{"record": id}), id, false)
		token, record := expectSession(t, i.openSession("linked", verifiedUser("linked@example.com")), "found")
		if record["id"] != id {
			t.Errorf("expected the linked user, found %v", record["id"])
		}
		expectRefusal(t, i.order("link", "linked", claims{"record": other}), http.StatusConflict, "account_collision")
		expectRefusal(t, i.order("link", "another", claims{"record": id}), http.StatusConflict, "account_collision")
		expectRefusal(t, i.order("link", "another", claims{"record": "nowhere"}), http.StatusNotFound, "account_unknown")

		expectDone(t, i.order("unlink", "linked", nil), id, true)
		if i.refresh(token).status != http.StatusUnauthorized {
			t.Error("expected who is unlinked to be signed out")
		}
		expectDone(t, i.order("unlink", "linked", nil), nil, false)
	})

	t.Run("what is missing is told", func(t *testing.T) {
		i := startInstance(t)
		complete := i.order("check", "kombi-exchange", nil)
		if missing, _ := complete.body["missing"].([]any); complete.body["version"] != 1.0 || len(missing) != 0 {
			t.Errorf("expected version 1 and nothing missing, found %d: %s", complete.status, complete.raw)
		}
		i.changeUsers(func(users map[string]any) { field(users, "zitadel_sub")["hidden"] = false })
		broken := i.order("check", "kombi-exchange", nil)
		if missing, _ := broken.body["missing"].([]any); len(missing) != 1 || missing[0] != "zitadel_sub" {
			t.Errorf("expected the hidden field to be missing, found %d: %s", broken.status, broken.raw)
		}
	})
}

func TestOrdersAreRefused(t *testing.T) {
	t.Parallel()
	i := startInstance(t)
	present := func(t *testing.T, path string, payload claims) answer {
		t.Helper()
		return i.in(t).call(http.MethodPost, path, "", map[string]any{"request": sign(hs256, payload, instanceKey)})
	}

	t.Run("at another door, and a second time", func(t *testing.T) {
		session := requestFor("ada", verifiedUser("ada@example.com"))
		expectRefusal(t, present(t, orderPath, session), http.StatusUnauthorized, "request_invalid")
		order := orderFor("ada", claims{"do": "unlink"})
		expectRefusal(t, present(t, hookPath, order), http.StatusUnauthorized, "request_invalid")
		expectRefusal(t, present(t, endPath, order), http.StatusUnauthorized, "request_invalid")
		expectDone(t, present(t, orderPath, order), nil, false)
		expectRefusal(t, present(t, orderPath, order), http.StatusUnauthorized, "request_invalid")
	})

	t.Run("if they are none", func(t *testing.T) {
		for name, changes := range map[string]claims{
			"unknown":            {"do": "delete"},
			"no text":            {"do": 1},
			"a prototype's name": {"do": "constructor"},
			"nobody":             {"do": "unlink", "sub": nil},
			"everybody":          {"do": "unlink", "sub": ""},
			"no record":          {"do": "link"},
			"no version":         {"do": "set_flags", "flags": map[string]any{}},
			"version zero":       {"do": "set_flags", "version": 0, "flags": map[string]any{}},
			"no flags":           {"do": "set_flags", "version": 1},
			"a list of flags":    {"do": "set_flags", "version": 1, "flags": []any{true}},
			"a number":           {"do": "set_flags", "version": 1, "flags": map[string]any{"a": 1}},
		} {
			t.Run(name, func(t *testing.T) {
				expectRefusal(t, present(t, orderPath, orderFor("ada", changes)), http.StatusUnauthorized, "request_invalid")
			})
		}
	})
}
