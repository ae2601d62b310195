package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// memory is what is used of the library's example storage: requests, codes and the tokens of
// flows. Its further grants, one of them with a well-known secret, stay out of reach.
type memory interface {
	op.Storage
	op.CanSetUserinfoFromRequest
	CheckUsernamePassword(username, password, request string) error
}

// storage gives the example storage the keys, clients and claims of a Zitadel.
type storage struct {
	memory
	clients clients
	project string
	keys    *keyRing
	minted  *mintedTokens
}

var (
	_ op.Storage                        = &storage{}
	_ op.CanSetUserinfoFromRequest      = &storage{}
	_ op.CanGetPrivateClaimsFromRequest = &storage{}
)

func (s *storage) SigningKey(context.Context) (op.SigningKey, error) {
	return s.keys.signer(), nil
}

func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	var held []jose.SignatureAlgorithm
	for _, key := range s.keys.published() {
		if !slices.Contains(held, key.algorithm) {
			held = append(held, key.algorithm)
		}
	}
	return held, nil
}

func (s *storage) KeySet(context.Context) ([]op.Key, error) {
	var published []op.Key
	for _, key := range s.keys.published() {
		published = append(published, publishedKey{key})
	}
	return published, nil
}

// GetKeyByIDAndClientID always fails: no client authenticates by a key.
func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errors.New("no client has a key")
}

func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	return s.clients.byID(id)
}

func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	return s.clients.authorize(id, secret)
}

func (s *storage) CreateAuthRequest(ctx context.Context, request *oidc.AuthRequest, user string) (op.AuthRequest, error) {
	return withProjects(s.memory.CreateAuthRequest(ctx, request, user))
}

func (s *storage) AuthRequestByID(ctx context.Context, id string) (op.AuthRequest, error) {
	return withProjects(s.memory.AuthRequestByID(ctx, id))
}

func (s *storage) AuthRequestByCode(ctx context.Context, code string) (op.AuthRequest, error) {
	return withProjects(s.memory.AuthRequestByCode(ctx, code))
}

func withProjects(stored op.AuthRequest, err error) (op.AuthRequest, error) {
	if err != nil {
		return nil, err
	}
	return authRequest{stored}, nil
}

func (s *storage) TokenRequestByRefreshToken(ctx context.Context, token string) (op.RefreshTokenRequest, error) {
	stored, err := s.memory.TokenRequestByRefreshToken(ctx, token)
	if err != nil {
		return nil, err
	}
	return refreshRequest{stored}, nil
}

func (s *storage) CreateAccessToken(ctx context.Context, request op.TokenRequest) (string, time.Time, error) {
	return s.memory.CreateAccessToken(ctx, asStored(request))
}

func (s *storage) CreateAccessAndRefreshTokens(
	ctx context.Context, request op.TokenRequest, refreshToken string,
) (string, string, time.Time, error) {
	return s.memory.CreateAccessAndRefreshTokens(ctx, asStored(request), refreshToken)
}

// GetPrivateClaimsFromRequest is for access tokens.
func (s *storage) GetPrivateClaimsFromRequest(
	_ context.Context, request op.TokenRequest, _ []string,
) (map[string]any, error) {
	person, known := personCalled(request.GetSubject())
	if !known {
		return nil, errors.New("user not found")
	}
	return person.identity().claims(s.project), nil
}

// SetUserinfoFromRequest is for ID tokens.
func (s *storage) SetUserinfoFromRequest(
	ctx context.Context, info *oidc.UserInfo, request op.IDTokenRequest, scopes []string,
) error {
	if err := s.memory.SetUserinfoFromRequest(ctx, info, request, scopes); err != nil {
		return err
	}
	info.Claims = s.withZitadelClaims(info.Claims, request.GetSubject())
	return nil
}

// SetUserinfoFromToken is for the userinfo endpoint.
func (s *storage) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	if claims, minted := s.minted.claims(token); minted {
		return setUserinfo(info, claims)
	}
	if err := s.memory.SetUserinfoFromToken(ctx, info, token, subject, origin); err != nil {
		return err
	}
	info.Claims = s.withZitadelClaims(info.Claims, subject)
	return nil
}

// SetIntrospectionFromToken is for the introspection endpoint; an error says "not active".
func (s *storage) SetIntrospectionFromToken(
	ctx context.Context, answer *oidc.IntrospectionResponse, token, subject, clientID string,
) error {
	if claims, minted := s.minted.claims(token); minted {
		// The library has checked a JWT, but of an opaque token no more than that it can be read.
		if err := checkMinted(claims, subject, time.Now()); err != nil {
			return err
		}
		if err := setIntrospection(answer, claims); err != nil {
			return err
		}
	} else {
		// The example storage shows a token to its own client only, so it is asked as that client.
		if err := s.memory.SetIntrospectionFromToken(ctx, answer, token, subject, portalID); err != nil {
			return err
		}
		answer.Claims = s.withZitadelClaims(answer.Claims, subject)
		answer.Audience = audience(answer.ClientID, answer.Scope)
		answer.Issuer = op.IssuerFromContext(ctx)
		answer.JWTID = token
	}
	answer.TokenType = oidc.BearerToken
	// Zitadel's rule: a client may introspect what is for itself or for its project.
	if !slices.Contains(answer.Audience, clientID) && !slices.Contains(answer.Audience, s.project) {
		return errors.New("the token is not for this client")
	}
	return nil
}

func (s *storage) RevokeToken(ctx context.Context, token, user, clientID string) *oidc.Error {
	if claims, minted := s.minted.claims(token); minted {
		if claims["client_id"] != clientID {
			return oidc.ErrInvalidClient().WithDescription("token was not issued for this client")
		}
		s.minted.forget(token)
		return nil
	}
	return s.memory.RevokeToken(ctx, token, user, clientID)
}

func (s *storage) withZitadelClaims(claims map[string]any, subject string) map[string]any {
	person, known := personCalled(subject)
	if !known {
		return claims
	}
	all := person.identity().zitadelClaims(s.project)
	maps.Copy(all, claims)
	return all
}
