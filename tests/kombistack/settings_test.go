package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestWithoutGoodSettingsNobodyIsSignedIn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ id, key string }{
		"no id":            {"", instanceKey},
		"no key":           {instanceID, ""},
		"neither":          {"", ""},
		"a short key":      {instanceID, instanceKey[:42]},
		"a padded key":     {instanceID, instanceKey + "="},
		"a key in hex":     {instanceID, strings.Repeat("0f", 32)},
		"a sloppy end":     {instanceID, instanceKey[:42] + "9"},
		"another alphabet": {instanceID, strings.Repeat("+", 42) + "8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := serve(t, install(t), withSettings(c.id, c.key))
			payload := requestFor("nobody", verifiedUser("nobody@example.com"))
			payload["aud"] = c.id

			got := i.present(sign(hs256, payload, c.key))
			if got.status != http.StatusServiceUnavailable || got.body["status"] != 503.0 {
				t.Fatalf("expected 503, found %d: %s", got.status, got.raw)
			}
			if c.key != "" && strings.Contains(got.raw, c.key) {
				t.Errorf("expected no key in the answer, found %s", got.raw)
			}
			if found := i.users(""); len(found) != 0 {
				t.Errorf("expected no user, found %v", found)
			}
		})
	}
}

func TestTheLogNamesTheSettingThatIsWrong(t *testing.T) {
	t.Parallel()
	for name, environment := range map[string]settings{
		"KOMBISPHERE_INSTANCE_ID": withSettings("", instanceKey),
		"KOMBISPHERE_SSO_KEY":     withSettings(instanceID, instanceKey[:42]),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := serve(t, install(t), environment)
			i.present("anything")

			line := i.logLine("sign-in is not configured")
			if !strings.Contains(line, name+": expected") || strings.Contains(line, instanceKey[:42]) {
				t.Errorf("expected a line that names the setting without its value, found %s", line)
			}
		})
	}
}

// logLine waits until PocketBase has written its buffered log, and returns the lines with the message.
func (i *instance) logLine(message string) string {
	i.t.Helper()
	deadline := time.Now().Add(waitDeadline)
	for {
		got := i.mustCall(http.MethodGet, "/api/logs?filter="+url.QueryEscape(`message ~ "`+message+`"`), i.superuser, nil)
		if items := got.body["items"].([]any); len(items) > 0 {
			return got.raw
		}
		if time.Now().After(deadline) {
			i.t.Fatalf("expected a log line with %q, found none", message)
		}
		time.Sleep(pollInterval)
	}
}
