package main

import (
	"crypto/rand"
	"errors"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/crypto"
)

// opaqueKey encrypts what only the issuer shall read: codes of logins, and the inside of opaque
// tokens. Neither outlives the process.
type opaqueKey [32]byte

func newOpaqueKey() (opaqueKey, error) {
	var key opaqueKey
	_, err := rand.Read(key[:])
	return key, err
}

// seal makes the opaque token with these claims. Zitadel's are one piece of base64url: its name and
// its subject in AES-CFB. The library still reads that form, but writes another by default.
func (k opaqueKey) seal(claims map[string]any) (string, error) {
	id, named := claims["jti"].(string)
	subject, known := claims["sub"].(string)
	if !named || !known || strings.Contains(id+subject, ":") {
		return "", errors.New("opaque: expected a jti and a sub without a colon, because they are all that is in it")
	}
	//lint:ignore SA1019 it is what Zitadel's personal access tokens are made with
	return crypto.EncryptAES(id+":"+subject, string(k[:]))
}
