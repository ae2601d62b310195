package main

import (
	"maps"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

const pagePath = "/kombisphere/"

func pageSettings(changes settings) settings {
	all := goodSettings()
	all["KOMBISPHERE_PORTAL_URL"] = "https://portal.example/portal/"
	all["KOMBISPHERE_GATEWAY_URL"] = "https://api.example:8443/"
	maps.Copy(all, changes)
	return all
}

func TestSignInPage(t *testing.T) {
	t.Parallel()
	i := serve(t, install(t), pageSettings(nil))
	nonces := map[string]bool{}

	for range 2 {
		got := i.page()
		if got.status != http.StatusOK {
			t.Fatalf("expected the page, found %d: %s", got.status, got.raw)
		}
		policy := got.header.Get("Content-Security-Policy")
		nonce := regexp.MustCompile(`script-src 'nonce-([A-Za-z0-9]{32})'`).FindStringSubmatch(policy)
		if nonce == nil {
			t.Fatalf("expected a nonce for scripts, found %q", policy)
		}
		nonces[nonce[1]] = true
		for _, directive := range []string{
			"default-src 'none'", "connect-src https://api.example:8443", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
		} {
			if !strings.Contains(policy, directive) {
				t.Errorf("expected %s, found %q", directive, policy)
			}
		}
		for name, expected := range map[string]string{
			"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
		} {
			if found := got.header.Get(name); found != expected {
				t.Errorf("expected %s %s, found %q", name, expected, found)
			}
		}
		if !strings.Contains(got.raw, `<script nonce="`+nonce[1]+`">`) || strings.Contains(got.raw, instanceKey) {
			t.Errorf("expected a script with the nonce and no key, found %s", got.raw)
		}
	}
	if len(nonces) != 2 {
		t.Errorf("expected a nonce for each answer, found %v", nonces)
	}
}

func TestWithoutGoodSettingsThereIsNoSignInPage(t *testing.T) {
	t.Parallel()
	for name, changes := range map[string]settings{
		"no portal":             {"KOMBISPHERE_PORTAL_URL": ""},
		"no gateway":            {"KOMBISPHERE_GATEWAY_URL": ""},
		"no slash":              {"KOMBISPHERE_GATEWAY_URL": "https://api.example"},
		"a script":              {"KOMBISPHERE_PORTAL_URL": "javascript:alert(1)/"},
		"more than one address": {"KOMBISPHERE_GATEWAY_URL": "https://api.example/; script-src *"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := serve(t, install(t), pageSettings(changes))
			if got := i.page(); got.status != http.StatusServiceUnavailable || strings.Contains(got.raw, "example") {
				t.Errorf("expected 503 and no setting, found %d: %s", got.status, got.raw)
			}
		})
	}
}

// page asks for the sign-in page as a browser does.
func (i *instance) page() answer {
	i.t.Helper()
	request, err := http.NewRequest(http.MethodGet, i.baseURL+pagePath, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	got, err := send(request)
	if err != nil {
		i.t.Fatal(err)
	}
	return got
}
