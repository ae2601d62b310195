package main

import (
	"log/slog"
	"net/http"
	"time"

	example "github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// maxBodyBytes is far above any order or form, and far below what could hurt.
const maxBodyBytes = 1 << 20

// keySetMaxAge is short, so that a key which was dropped is soon gone everywhere.
const keySetMaxAge = "max-age=5, must-revalidate"

func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}
}

// newHandler is the whole issuer: the provider, its login page, and the orders of tests.
func newHandler(s settings) (http.Handler, error) {
	keys, err := newKeyRing()
	if err != nil {
		return nil, err
	}
	minted := newMintedTokens()
	storage := &storage{
		memory:  example.NewStorageWithClients(userStore{}, nil),
		clients: newClients(s),
		project: s.project,
		keys:    keys,
		minted:  minted,
	}
	opaque, err := newOpaqueKey()
	if err != nil {
		return nil, err
	}
	provider, err := newProvider(s.issuer, opaque, storage)
	if err != nil {
		return nil, err
	}
	var stats stats

	mux := http.NewServeMux()
	mux.Handle("/", provider)
	mux.Handle(oidc.DiscoveryEndpoint, counted(&stats.discovery, provider))
	mux.Handle(keySetPath, counted(&stats.jwks, withKeySetMaxAge(provider)))
	mux.Handle(introspectionPath, counted(&stats.introspection, provider))
	newLogin(storage, provider).register(mux)
	(&testAPI{
		issuer: s.issuer, project: s.project, keys: keys, minted: minted, opaque: opaque, stats: &stats,
	}).register(mux)

	return http.MaxBytesHandler(mux, maxBodyBytes), nil
}

func withKeySetMaxAge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", keySetMaxAge)
		next.ServeHTTP(w, r)
	})
}
