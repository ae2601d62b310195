package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"slices"
	"sync"

	"github.com/go-jose/go-jose/v4"
	zitadelcrypto "github.com/zitadel/oidc/v3/pkg/crypto"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const rsaBits = 2048

// generators are the algorithms Zitadel's web keys can have.
var generators = map[jose.SignatureAlgorithm]func() (crypto.Signer, error){
	jose.RS256: generateRSA,
	jose.RS384: generateRSA,
	jose.RS512: generateRSA,
	jose.ES256: generateECDSA(elliptic.P256()),
	jose.ES384: generateECDSA(elliptic.P384()),
	jose.ES512: generateECDSA(elliptic.P521()),
	jose.EdDSA: generateEd25519,
}

func generateRSA() (crypto.Signer, error) {
	return rsa.GenerateKey(rand.Reader, rsaBits)
}

func generateECDSA(curve elliptic.Curve) func() (crypto.Signer, error) {
	return func() (crypto.Signer, error) { return ecdsa.GenerateKey(curve, rand.Reader) }
}

func generateEd25519() (crypto.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return private, err
}

// algorithms are the names of all algorithms a key can have.
func algorithms() []string {
	var names []string
	for algorithm := range generators {
		names = append(names, string(algorithm))
	}
	slices.Sort(names)
	return names
}

// key is a private key; it implements [op.SigningKey].
type key struct {
	id        string
	algorithm jose.SignatureAlgorithm
	private   crypto.Signer
}

func newKey(algorithm jose.SignatureAlgorithm) (*key, error) {
	generate, known := generators[algorithm]
	if !known {
		return nil, fmt.Errorf("expected an algorithm of %v, found %q", algorithms(), algorithm)
	}
	private, err := generate()
	if err != nil {
		return nil, fmt.Errorf("cannot generate a key for %s: %w", algorithm, err)
	}
	// Random, not counted: a verifier that outlives an issuer must not take the keys of the
	// next one for the keys it knows.
	return &key{id: rand.Text(), algorithm: algorithm, private: private}, nil
}

func (k *key) ID() string { return k.id }

func (k *key) SignatureAlgorithm() jose.SignatureAlgorithm { return k.algorithm }

func (k *key) Key() any { return k.private }

// sign makes a JWT whose header names the key as kid, whatever its real name.
func (k *key) sign(kid string, claims any) (string, error) {
	signer, err := op.SignerFromKey(&key{id: kid, algorithm: k.algorithm, private: k.private})
	if err != nil {
		return "", err
	}
	return zitadelcrypto.Sign(claims, signer)
}

// publishedKey is the public half of a key; it implements [op.Key].
type publishedKey struct {
	*key
}

func (k publishedKey) Algorithm() jose.SignatureAlgorithm { return k.algorithm }

func (publishedKey) Use() string { return "sig" }

func (k publishedKey) Key() any { return k.private.Public() }

// keyRing holds the keys of the issuer: all of them are published, one of them signs.
type keyRing struct {
	mu sync.RWMutex
	// held is ordered by age, the newest last.
	held    []*key
	signing *key
}

// newKeyRing has a key of each algorithm a gateway has to accept; RS256 signs, as in Zitadel.
func newKeyRing() (*keyRing, error) {
	ring := &keyRing{}
	for _, algorithm := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA} {
		key, err := newKey(algorithm)
		if err != nil {
			return nil, err
		}
		ring.held = append(ring.held, key)
	}
	ring.signing = ring.held[0]
	return ring, nil
}

// rotate adds a key, which signs from now on. The key that signed until now stays published
// unless it is dropped.
func (r *keyRing) rotate(algorithm jose.SignatureAlgorithm, dropPrevious bool) (*key, error) {
	next, err := newKey(algorithm)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if dropPrevious {
		r.held = slices.DeleteFunc(r.held, func(held *key) bool { return held == r.signing })
	}
	r.held = append(r.held, next)
	r.signing = next
	return next, nil
}

func (r *keyRing) signer() *key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.signing
}

// newest is the youngest key of an algorithm.
func (r *keyRing) newest(algorithm jose.SignatureAlgorithm) (*key, error) {
	for _, held := range slices.Backward(r.published()) {
		if held.algorithm == algorithm {
			return held, nil
		}
	}
	return nil, fmt.Errorf("expected the algorithm of a key that is held, found %q", algorithm)
}

func (r *keyRing) published() []*key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.held)
}
