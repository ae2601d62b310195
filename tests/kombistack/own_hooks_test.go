package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ownHooks stands for rules that a KombiStack has in hooks of its own.
const ownHooks = `
onRecordAuthRequest((e) => {
  if (e.record.getString("name") === "Suspended") throw new ForbiddenError("suspended")
  if (e.record.getString("name") === "Busy") throw new TooManyRequestsError("busy")
  e.next()
}, "users")

onRecordCreate((e) => {
  if (e.record.getString("name") === "Seatless") throw new BadRequestError("no seats left")
  e.next()
}, "users")
`

func TestTheInstancesOwnHooksTakePart(t *testing.T) {
	t.Parallel()
	dir := install(t)
	if err := os.WriteFile(filepath.Join(dir, "pb_hooks", "own.pb.js"), []byte(ownHooks), 0o600); err != nil {
		t.Fatal(err)
	}
	i := serve(t, dir, goodSettings())
	named := func(name string) claims {
		return claims{"email": strings.ToLower(name) + "@example.com", "email_verified": true, "name": name}
	}

	t.Run("a hook that forbids the sign-in refuses the account", func(t *testing.T) {
		i := i.in(t)
		expectRefusal(t, i.openSession("suspended", named("Suspended")), http.StatusForbidden, "account_refused")
	})

	t.Run("any other error of a hook is answered as it is", func(t *testing.T) {
		i := i.in(t)
		for name, status := range map[string]int{"Busy": http.StatusTooManyRequests, "Seatless": http.StatusBadRequest} {
			got := i.openSession(strings.ToLower(name), named(name))
			data, isObject := got.body["data"].(map[string]any)
			if got.status != status || !isObject || len(data) != 0 {
				t.Errorf("%s: expected %d without a code, found %d: %s", name, status, got.status, got.raw)
			}
		}
	})

	t.Run("neither leaves a user behind", func(t *testing.T) {
		if found := i.in(t).users(""); len(found) != 0 {
			t.Errorf("expected no user, found %v", found)
		}
	})

	t.Run("everybody else gets in", func(t *testing.T) {
		expectSession(t, i.in(t).openSession("ada", named("Ada")), "created")
	})
}
