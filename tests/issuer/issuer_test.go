package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

const (
	testProject = "273456789012345678"
	adaID       = "300000000000000001"

	deadline = 10 * time.Second
)

// testIssuer is a running issuer, and somebody who relies on it over HTTP only.
type testIssuer struct {
	t   *testing.T
	url string
}

// startIssuer runs what main runs, on a free port.
func startIssuer(t *testing.T, args ...string) *testIssuer {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	stdout, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, append([]string{"--listen", "127.0.0.1:0"}, args...), writer)
		writer.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		http.DefaultClient.CloseIdleConnections()
		if err := <-ended; err != nil {
			t.Errorf("expected the issuer to end cleanly, found %v", err)
		}
	})
	return &testIssuer{t: t, url: readReady(t, stdout).Issuer}
}

type readyLine struct {
	Listening string `json:"listening"`
	Issuer    string `json:"issuer"`
}

func readReady(t *testing.T, stdout io.Reader) readyLine {
	t.Helper()
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatalf("expected one line when the issuer is ready, found %v", err)
	}
	var ready readyLine
	if err := json.Unmarshal(line, &ready); err != nil {
		t.Fatalf("expected a line of JSON, found %q", line)
	}
	return ready
}

// send reads the JSON of an answer; the response is returned for its status and header.
func (i *testIssuer) send(method, path, body string, answer any) *http.Response {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, i.url+path, strings.NewReader(body))
	if err != nil {
		i.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		i.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		i.t.Fatalf("%s %s: expected JSON, found %d: %q", method, path, response.StatusCode, raw)
	}
	return response
}

// order is send for orders that are right.
func (i *testIssuer) order(path, body string) map[string]any {
	i.t.Helper()
	var answer map[string]any
	if response := i.send(http.MethodPost, path, body, &answer); response.StatusCode != http.StatusOK {
		i.t.Fatalf("POST %s %s: expected 200, found %d: %v", path, body, response.StatusCode, answer)
	}
	return answer
}

func (i *testIssuer) mint(order string) string {
	i.t.Helper()
	return i.order("/test/mint", order)["access_token"].(string)
}

func (i *testIssuer) discover() oidc.DiscoveryConfiguration {
	i.t.Helper()
	var found oidc.DiscoveryConfiguration
	i.send(http.MethodGet, oidc.DiscoveryEndpoint, "", &found)
	return found
}

func (i *testIssuer) keySet() *jose.JSONWebKeySet {
	i.t.Helper()
	var set jose.JSONWebKeySet
	path, ours := strings.CutPrefix(i.discover().JwksURI, i.url)
	if !ours {
		i.t.Fatalf("expected the keys at %s, found them at %s", i.url, path)
	}
	i.send(http.MethodGet, path, "", &set)
	return &set
}

// verified is a token whose signature one of the published keys confirms.
type verified struct {
	header jose.Header
	claims map[string]any
}

// verify knows the issuer by what it publishes, as a gateway does.
func (i *testIssuer) verify(token string) verified {
	i.t.Helper()
	parsed := parse(i.t, token)
	keys := i.keySet().Key(parsed.Headers[0].KeyID)
	if len(keys) != 1 {
		i.t.Fatalf("expected one key %q, found %d", parsed.Headers[0].KeyID, len(keys))
	}
	if keys[0].Algorithm != parsed.Headers[0].Algorithm {
		i.t.Fatalf("expected the key's algorithm %s, found %s", keys[0].Algorithm, parsed.Headers[0].Algorithm)
	}
	found := verified{header: parsed.Headers[0]}
	if err := parsed.Claims(keys[0], &found.claims); err != nil {
		i.t.Fatalf("expected a signature by key %s, found %v", keys[0].KeyID, err)
	}
	return found
}

func parse(t *testing.T, token string) *jwt.JSONWebToken {
	t.Helper()
	var accepted []jose.SignatureAlgorithm
	for algorithm := range generators {
		accepted = append(accepted, algorithm)
	}
	parsed, err := jwt.ParseSigned(token, accepted)
	if err != nil {
		t.Fatalf("expected a signed token, found %v", err)
	}
	return parsed
}
