package main

import (
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// mintedTokens remembers the tokens that tests ordered, so that they can be introspected and
// revoked like those of a login.
type mintedTokens struct {
	mu   sync.Mutex
	byID map[string]map[string]any
}

func newMintedTokens() *mintedTokens {
	return &mintedTokens{byID: map[string]map[string]any{}}
}

// remember ignores a token without a jti: nothing could find it again.
func (m *mintedTokens) remember(claims map[string]any) {
	id, named := claims["jti"].(string)
	if !named {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byID[id] = claims
}

// claims must not be changed by the caller.
func (m *mintedTokens) claims(id string) (map[string]any, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	claims, minted := m.byID[id]
	return claims, minted
}

func (m *mintedTokens) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byID, id)
}

// checkMinted says whether the token with these claims is still good, and this subject's.
func checkMinted(claims map[string]any, subject string, now time.Time) error {
	if claims["sub"] != subject {
		return errors.New("the token is another's")
	}
	if expiry, set := claims["exp"].(int64); set && now.Unix() >= expiry {
		return errors.New("the token is expired")
	}
	return nil
}

// setUserinfo fills in what a token says about its subject, and nothing about the token.
func setUserinfo(info *oidc.UserInfo, claims map[string]any) error {
	about := maps.Clone(claims)
	for _, name := range []string{"iss", "aud", "exp", "nbf", "iat", "jti", "client_id"} {
		delete(about, name)
	}
	return convert(about, info)
}

// setIntrospection fills in everything that a token says.
func setIntrospection(answer *oidc.IntrospectionResponse, claims map[string]any) error {
	return convert(claims, answer)
}

func convert(claims map[string]any, into any) error {
	encoded, err := json.Marshal(claims)
	if err != nil {
		return err
	}
	return json.Unmarshal(encoded, into)
}
