package main

import (
	"fmt"
	"testing"
)

func TestTheNewKeySignsAndThePreviousStaysPublished(t *testing.T) {
	issuer := startIssuer(t)
	before := issuer.mint(`{"sub": "ada"}`)
	kid := issuer.order("/test/rotate", `{"algorithm": "ES256"}`)["kid"]
	after := issuer.verify(issuer.mint(`{"sub": "ada"}`))
	if after.header.KeyID != kid || after.header.Algorithm != "ES256" {
		t.Errorf("expected the new key %v, found %+v", kid, after.header)
	}
	issuer.verify(before)
	if published := len(issuer.keySet().Keys); published != 4 {
		t.Errorf("expected the three keys of the start and a new one, found %d", published)
	}
}

func TestADroppedKeyIsNotPublishedAnyMore(t *testing.T) {
	issuer := startIssuer(t)
	dropped := issuer.verify(issuer.mint(`{"sub": "ada"}`)).header.KeyID
	kid := issuer.order("/test/rotate", `{"drop_previous": true}`)["kid"]
	if left := issuer.keySet().Key(dropped); len(left) != 0 {
		t.Errorf("expected the key %s to be gone, found it", dropped)
	}
	if after := issuer.verify(issuer.mint(`{"sub": "ada"}`)); after.header.KeyID != kid {
		t.Errorf("expected the new key %v, found %+v", kid, after.header)
	}
	for _, algorithm := range []string{"ES256", "EdDSA"} {
		issuer.verify(issuer.mint(fmt.Sprintf(`{"sub": "ada", "algorithm": %q}`, algorithm)))
	}
}

func TestTheNewestKeyOfAnAlgorithmSigns(t *testing.T) {
	issuer := startIssuer(t)
	kid := issuer.order("/test/rotate", `{}`)["kid"]
	issuer.order("/test/rotate", `{"algorithm": "EdDSA"}`)
	if token := issuer.verify(issuer.mint(`{"sub": "ada", "algorithm": "RS256"}`)); token.header.KeyID != kid {
		t.Errorf("expected the key %v, found %+v", kid, token.header)
	}
}

func TestEveryAlgorithmOfZitadelCanBeRotatedTo(t *testing.T) {
	issuer := startIssuer(t)
	for _, algorithm := range algorithms() {
		issuer.order("/test/rotate", fmt.Sprintf(`{"algorithm": %q}`, algorithm))
		if token := issuer.verify(issuer.mint(`{"sub": "ada"}`)); token.header.Algorithm != algorithm {
			t.Errorf("expected %s, found %s", algorithm, token.header.Algorithm)
		}
	}
}
