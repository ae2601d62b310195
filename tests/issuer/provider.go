package main

import (
	"fmt"

	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	// keySetPath is where Zitadel publishes its keys.
	keySetPath = "/oauth/v2/keys"
	// introspectionPath is where it is asked about a token.
	introspectionPath = "/oauth/v2/introspect"
)

// newProvider is the library's provider, with its endpoints where Zitadel has them.
func newProvider(issuer string, key opaqueKey, storage op.Storage) (*op.Provider, error) {
	config := &op.Config{
		CryptoKey:                key,
		CryptoKeyId:              "codes",
		DefaultLogoutRedirectURI: loggedOutPath,
		CodeMethodS256:           true,
		GrantTypeRefreshToken:    true,
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
		op.WithCustomIntrospectionEndpoint(op.NewEndpoint(introspectionPath)),
		// By default the library accepts less than the issuer signs.
		op.WithAccessTokenVerifierOpts(op.WithSupportedAccessTokenSigningAlgorithms(algorithms()...)),
		op.WithIDTokenHintVerifierOpts(op.WithSupportedIDTokenHintSigningAlgorithms(algorithms()...)),
	)
	if err != nil {
		return nil, fmt.Errorf("--issuer %s: %w", issuer, err)
	}
	return provider, nil
}
