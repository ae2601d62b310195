package main

import (
	"slices"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/op"
)

// Zitadel's own scopes, see https://zitadel.com/docs/apis/openidoauth/scopes.
const (
	reservedScopePrefix = "urn:zitadel:iam:"
	audienceScopePrefix = "urn:zitadel:iam:org:project:id:"
	audienceScopeSuffix = ":aud"
)

// audience is whom a token is for: the client, and each project that it asked for by scope.
func audience(clientID string, scopes []string) []string {
	audience := []string{clientID}
	for _, scope := range scopes {
		rest, isProject := strings.CutPrefix(scope, audienceScopePrefix)
		project, isAudience := strings.CutSuffix(rest, audienceScopeSuffix)
		if isProject && isAudience && !slices.Contains(audience, project) {
			audience = append(audience, project)
		}
	}
	return audience
}

// authRequest is a request of the example storage, with the projects in the audience.
type authRequest struct {
	op.AuthRequest
}

func (r authRequest) GetAudience() []string {
	return audience(r.GetClientID(), r.GetScopes())
}

// refreshRequest is a request of the example storage, with the projects in the audience.
type refreshRequest struct {
	op.RefreshTokenRequest
}

func (r refreshRequest) GetAudience() []string {
	return audience(r.GetClientID(), r.GetScopes())
}

// asStored is the request the example storage made: it knows its own types only, and forgets
// the client of any other.
func asStored(request op.TokenRequest) op.TokenRequest {
	switch request := request.(type) {
	case authRequest:
		return request.AuthRequest
	case refreshRequest:
		return request.RefreshTokenRequest
	default:
		return request
	}
}
