package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOverTLSTheIssuerIsKnownToWhoeverTrustsItsAuthorityOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "authority.pem")
	issuer := startIssuer(t, "--tls-authority", file)
	if !strings.HasPrefix(issuer.url, "https://localhost:") {
		t.Fatalf("expected an issuer at https://localhost, found %s", issuer.url)
	}
	block, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(block)
	for name, pool := range map[string]*x509.CertPool{"trusted": trusted, "unknown": x509.NewCertPool()} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
		response, err := (&http.Client{Transport: transport}).Get(issuer.url + keySetPath)
		if err == nil {
			response.Body.Close()
		}
		transport.CloseIdleConnections()
		if (err == nil) != (name == "trusted") {
			t.Errorf("%s: found %v", name, err)
		}
	}
}
