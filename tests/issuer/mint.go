package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// defaultLifetimeSeconds is how long a token is good for, unless its order says otherwise.
const defaultLifetimeSeconds = 3600

// order is what a test wants of a token. Only the subject is required: for one of the people,
// given by name or id, everything else is as a login would have it.
type order struct {
	Subject  string   `json:"sub"`
	Issuer   *string  `json:"issuer"`
	Audience []string `json:"audience"`
	// Times are in seconds from now and may be negative.
	ExpiresIn     *int64   `json:"expires_in"`
	NotBeforeIn   int64    `json:"not_before_in"`
	IssuedIn      int64    `json:"issued_in"`
	Roles         []string `json:"roles"`
	Organisation  *string  `json:"organisation"`
	Email         *string  `json:"email"`
	EmailVerified *bool    `json:"email_verified"`
	Name          *string  `json:"name"`
	// Opaque asks for a token that says nothing by itself, as a personal access token of Zitadel.
	Opaque bool `json:"opaque"`
	// Algorithm is that of the key which signs now, if it is empty.
	Algorithm jose.SignatureAlgorithm `json:"algorithm"`
	// KeyID replaces the key's own name in the header; empty, it removes it.
	KeyID *string `json:"kid"`
	// Claims are merged over all others; null removes a claim.
	Claims map[string]any `json:"claims"`
}

func (o order) check() error {
	if o.Subject == "" {
		return errors.New("sub: expected the name of a person or an id, found nothing")
	}
	if o.Opaque && (o.Algorithm != "" || o.KeyID != nil) {
		return errors.New("opaque: expected neither algorithm nor kid beside it, because nothing is signed")
	}
	return nil
}

func (o order) key(ring *keyRing) (*key, error) {
	if o.Algorithm == "" {
		return ring.signer(), nil
	}
	return ring.newest(o.Algorithm)
}

func (o order) identity() identity {
	i := identity{subject: o.Subject, organisation: kombisphere}
	if p, known := personCalled(o.Subject); known {
		i = p.identity()
	}
	if o.Roles != nil {
		i.roles = o.Roles
	}
	if o.Organisation != nil {
		i.organisation = organisationWith(*o.Organisation)
	}
	i.email = *cmp.Or(o.Email, &i.email)
	i.emailVerified = *cmp.Or(o.EmailVerified, &i.emailVerified)
	i.name = *cmp.Or(o.Name, &i.name)
	return i
}

func (o order) claims(now time.Time, issuer, project string) map[string]any {
	who := o.identity()
	lifetime := int64(defaultLifetimeSeconds)
	claims := who.claims(project)
	claims["iss"] = *cmp.Or(o.Issuer, &issuer)
	claims["sub"] = who.subject
	claims["aud"] = []string{portalID, project}
	if o.Audience != nil {
		claims["aud"] = o.Audience
	}
	claims["iat"] = now.Unix() + o.IssuedIn
	claims["nbf"] = now.Unix() + o.NotBeforeIn
	claims["exp"] = now.Unix() + *cmp.Or(o.ExpiresIn, &lifetime)
	claims["jti"] = rand.Text()
	claims["client_id"] = portalID
	for name, value := range o.Claims {
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
	}
	return claims
}
