package main

import (
	"crypto/rand"
	"fmt"

	"github.com/zitadel/oidc/v3/pkg/op"
)

// keySetPath is where Zitadel publishes its keys.
const keySetPath = "/oauth/v2/keys"

// newProvider is the library's provider, with its endpoints where Zitadel has them.
func newProvider(issuer string, storage op.Storage) (*op.Provider, error) {
	config := &op.Config{
		CryptoKeyId:              "codes",
		DefaultLogoutRedirectURI: loggedOutPath,
		CodeMethodS256:           true,
		GrantTypeRefreshToken:    true,
	}
	// It encrypts codes only, which do not outlive the process.
	if _, err := rand.Read(config.CryptoKey[:]); err != nil {
		return nil, err
	}
	provider, err := op.NewProvider(config, storage, op.StaticIssuer(issuer),
		// Everything runs on one machine, without TLS.
		op.WithAllowInsecure(),
		op.WithCustomEndpoints(
			op.NewEndpoint("/oauth/v2/authorize"),
			op.NewEndpoint("/oauth/v2/token"),
			op.NewEndpoint("/oidc/v1/userinfo"),
			op.NewEndpoint("/oauth/v2/revoke"),
			op.NewEndpoint("/oidc/v1/end_session"),
			op.NewEndpoint(keySetPath),
		),
		op.WithCustomIntrospectionEndpoint(op.NewEndpoint("/oauth/v2/introspect")),
		// By default the library accepts less than the issuer signs.
		op.WithAccessTokenVerifierOpts(op.WithSupportedAccessTokenSigningAlgorithms(algorithms()...)),
		op.WithIDTokenHintVerifierOpts(op.WithSupportedIDTokenHintSigningAlgorithms(algorithms()...)),
	)
	if err != nil {
		return nil, fmt.Errorf("--issuer %s: %w", issuer, err)
	}
	return provider, nil
}
