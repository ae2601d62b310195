package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// testAPI is what no real issuer has: tokens to order, keys to rotate, requests to count.
type testAPI struct {
	issuer  string
	project string
	keys    *keyRing
	minted  *mintedTokens
	opaque  opaqueKey
	stats   *stats
}

func (a *testAPI) register(mux *http.ServeMux) {
	mux.HandleFunc("POST /test/mint", a.mint)
	mux.HandleFunc("POST /test/rotate", a.rotate)
	mux.HandleFunc("GET /test/key", a.showKey)
	mux.HandleFunc("GET /test/stats", a.showStats)
	mux.HandleFunc("POST /test/stats/reset", a.resetStats)
}

func (a *testAPI) mint(w http.ResponseWriter, r *http.Request) {
	var order order
	if err := decode(r.Body, &order); err != nil {
		refuse(w, err)
		return
	}
	if err := order.check(); err != nil {
		refuse(w, err)
		return
	}
	if order.Opaque {
		a.mintOpaque(w, order)
		return
	}
	key, err := order.key(a.keys)
	if err != nil {
		refuse(w, fmt.Errorf("algorithm: %w", err))
		return
	}
	kid := key.id
	if order.KeyID != nil {
		kid = *order.KeyID
	}
	claims := order.claims(time.Now(), a.issuer, a.project)
	token, err := key.sign(kid, claims)
	if err != nil {
		fail(w, err)
		return
	}
	a.minted.remember(claims)
	reply(w, http.StatusOK, map[string]string{"access_token": token, "kid": kid})
}

func (a *testAPI) mintOpaque(w http.ResponseWriter, order order) {
	claims := order.claims(time.Now(), a.issuer, a.project)
	token, err := a.opaque.seal(claims)
	if err != nil {
		refuse(w, err)
		return
	}
	a.minted.remember(claims)
	reply(w, http.StatusOK, map[string]string{"access_token": token})
}

func (a *testAPI) rotate(w http.ResponseWriter, r *http.Request) {
	order := struct {
		Algorithm    jose.SignatureAlgorithm `json:"algorithm"`
		DropPrevious bool                    `json:"drop_previous"`
	}{Algorithm: jose.RS256}
	if err := decode(r.Body, &order); err != nil {
		refuse(w, err)
		return
	}
	key, err := a.keys.rotate(order.Algorithm, order.DropPrevious)
	if err != nil {
		refuse(w, fmt.Errorf("algorithm: %w", err))
		return
	}
	reply(w, http.StatusOK, map[string]string{"kid": key.id})
}

// showKey gives the public half of the newest RS256 key in PEM, for a gateway that reads no key
// sets.
func (a *testAPI) showKey(w http.ResponseWriter, _ *http.Request) {
	key, err := a.keys.newest(jose.RS256)
	if err != nil {
		refuse(w, err)
		return
	}
	der, err := x509.MarshalPKIXPublicKey(key.private.Public())
	if err != nil {
		fail(w, err)
		return
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	reply(w, http.StatusOK, map[string]string{"pem": string(block)})
}

func (a *testAPI) showStats(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, a.stats.counts())
}

func (a *testAPI) resetStats(w http.ResponseWriter, _ *http.Request) {
	a.stats.reset()
	reply(w, http.StatusOK, a.stats.counts())
}

// decode is strict: a misspelt field would otherwise make a test pass for the wrong reason.
func decode(body io.Reader, into any) error {
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	// Numbers among the claims are passed on as they were written.
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("expected a JSON object with the fields that are known: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("expected one JSON object, found more after it")
	}
	return nil
}

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		status = http.StatusRequestEntityTooLarge
	}
	reply(w, status, map[string]string{"error": err.Error()})
}

func fail(w http.ResponseWriter, err error) {
	slog.Error("cannot sign", "error", err)
	reply(w, http.StatusInternalServerError, map[string]string{"error": "cannot sign"})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		slog.Warn("cannot answer", "error", err)
	}
}
