package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"testing"
	"time"
)

const (
	hookPath   = "/api/kombisphere/session"
	instanceID = "homelab-1"
	// instanceKey is the key of 32 bytes as text; its characters are what the HMAC is keyed with.
	instanceKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
)

// claims is the payload of a signed request.
type claims map[string]any

// requestFor is a request as the exchange makes it; changes replace claims, and nil removes one.
func requestFor(sub string, changes claims) claims {
	now := time.Now().Unix()
	payload := claims{
		"iss": "kombi-exchange",
		"aud": instanceID,
		"iat": now,
		"exp": now + 30,
		"jti": rand.Text(),
		"sub": sub,
	}
	maps.Copy(payload, changes)
	maps.DeleteFunc(payload, func(_ string, value any) bool { return value == nil })
	return payload
}

// verifiedUser is the claims of somebody whose address the issuer verified.
func verifiedUser(email string) claims {
	return claims{"email": email, "email_verified": true, "name": "Ada Lovelace"}
}

var hs256 = map[string]any{"alg": "HS256", "typ": "JWT"}

// sign makes a compact JWS (RFC 7515), with HMAC-SHA-256 whatever the header says.
func sign(header map[string]any, payload any, key string) string {
	input := encodeJSON(header) + "." + encodeJSON(payload)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func encodeJSON(value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(encoded)
}

// openSession asks the hook for a session, with a request that is in order.
func (i *instance) openSession(sub string, changes claims) answer {
	i.t.Helper()
	return i.present(sign(hs256, requestFor(sub, changes), instanceKey))
}

// present hands a compact JWS to the hook.
func (i *instance) present(compact string) answer {
	i.t.Helper()
	return i.call(http.MethodPost, hookPath, "", map[string]any{"request": compact})
}

// expectSession asserts PocketBase's answer to a sign-in, and how the hook came to the user.
func expectSession(t *testing.T, got answer, origin string) (token string, record map[string]any) {
	t.Helper()
	if got.status != http.StatusOK {
		t.Fatalf("expected a session, found %d: %s", got.status, got.raw)
	}
	if len(got.body) != 3 {
		t.Errorf("expected token, record and meta, found %s", got.raw)
	}
	meta, _ := got.body["meta"].(map[string]any)
	if len(meta) != 1 || meta["kombisphere"] != origin {
		t.Fatalf("expected meta to say %q, found %v", origin, meta)
	}
	if found := got.header.Get("Cache-Control"); found != "no-store" {
		t.Errorf("expected Cache-Control no-store, found %q", found)
	}
	token, _ = got.body["token"].(string)
	record, _ = got.body["record"].(map[string]any)
	if token == "" || record == nil {
		t.Fatalf("expected a token and a record, found %s", got.raw)
	}
	return token, record
}

// expectRefusal asserts an error in PocketBase's shape that carries exactly the code.
func expectRefusal(t *testing.T, got answer, status int, code string) (message string) {
	t.Helper()
	if got.status != status {
		t.Fatalf("expected %d %s, found %d: %s", status, code, got.status, got.raw)
	}
	data, _ := got.body["data"].(map[string]any)
	if len(data) != 1 || data["code"] != code {
		t.Errorf("expected data to be the code %q alone, found %v", code, data)
	}
	if len(got.body) != 3 || got.body["status"] != float64(status) {
		t.Errorf("expected status, message and data, found %s", got.raw)
	}
	if found := got.header.Get("Cache-Control"); found != "no-store" {
		t.Errorf("expected Cache-Control no-store, found %q", found)
	}
	message, _ = got.body["message"].(string)
	if message == "" {
		t.Errorf("expected a message, found %s", got.raw)
	}
	return message
}
