package main

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestTheKeyInPEMVerifiesATokenOfThisIssuer(t *testing.T) {
	issuer := startIssuer(t)
	var answer map[string]string
	issuer.send(http.MethodGet, "/test/key", "", &answer)
	block, _ := pem.Decode([]byte(answer["pem"]))
	if block == nil {
		t.Fatalf("expected PEM, found %q", answer["pem"])
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jose.ParseSigned(issuer.mint(`{"sub": "ada"}`), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.Verify(key); err != nil {
		t.Error(err)
	}
}
