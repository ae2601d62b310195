package main

import "fmt"

// Zitadel's own claims, see https://zitadel.com/docs/apis/openidoauth/claims.
const (
	claimRoles              = "urn:zitadel:iam:org:project:roles"
	claimProjectRoles       = "urn:zitadel:iam:org:project:%s:roles"
	claimOwnerID            = "urn:zitadel:iam:user:resourceowner:id"
	claimOwnerName          = "urn:zitadel:iam:user:resourceowner:name"
	claimOwnerPrimaryDomain = "urn:zitadel:iam:user:resourceowner:primary_domain"
)

// identity is what a token says about its subject. Empty fields are left out of it.
type identity struct {
	subject       string
	roles         []string
	organisation  organisation
	email         string
	emailVerified bool
	name          string
	loginName     string
}

func (p person) identity() identity {
	return identity{
		subject:       p.id,
		roles:         p.roles,
		organisation:  p.organisation,
		email:         p.email(),
		emailVerified: true,
		name:          p.fullName(),
		loginName:     p.loginName(),
	}
}

// claims are those of an access token, besides the registered ones. Zitadel puts the profile
// into it when an action complements the token; such an action is taken for granted here.
func (i identity) claims(project string) map[string]any {
	claims := i.zitadelClaims(project)
	if i.email != "" {
		claims["email"] = i.email
		claims["email_verified"] = i.emailVerified
	}
	if i.name != "" {
		claims["name"] = i.name
	}
	if i.loginName != "" {
		claims["preferred_username"] = i.loginName
	}
	return claims
}

// zitadelClaims are given as if every client had asked for them by scope, or had its project
// set to assert roles.
func (i identity) zitadelClaims(project string) map[string]any {
	claims := map[string]any{
		claimOwnerID:            i.organisation.id,
		claimOwnerName:          i.organisation.name,
		claimOwnerPrimaryDomain: i.organisation.primaryDomain,
	}
	// Somebody without a role has no such claim, rather than an empty one.
	if len(i.roles) == 0 {
		return claims
	}
	roles := make(map[string]map[string]string, len(i.roles))
	for _, role := range i.roles {
		roles[role] = map[string]string{i.organisation.id: i.organisation.primaryDomain}
	}
	claims[claimRoles] = roles
	claims[fmt.Sprintf(claimProjectRoles, project)] = roles
	return claims
}
