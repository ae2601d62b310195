package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
)

// settings are what the command line says.
type settings struct {
	listen string
	// issuer is an origin without a trailing slash: what tokens carry as iss.
	issuer              string
	project             string
	redirectURIs        []string
	introspectionSecret string
	// authorityFile is empty where the issuer is reached without TLS.
	authorityFile string
}

func parseSettings(args []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("issuer", flag.ContinueOnError)
	flags.StringVar(&s.listen, "listen", "127.0.0.1:0", "the `address` to listen on; port 0 takes a free one")
	flags.StringVar(&s.issuer, "issuer", "", "the `URL` others reach the issuer by (default http://ADDRESS)")
	flags.StringVar(&s.project, "project", "273456789012345678", "the `ID` of the Zitadel project the tokens are for")
	flags.StringVar(&s.introspectionSecret, "introspection-secret", "",
		"the `secret` of the client "+introspectorID+"; without it nobody may introspect")
	flags.StringVar(&s.authorityFile, "tls-authority", "",
		"serve TLS as localhost, and write the certificate of the authority to trust to `FILE`")
	flags.Func("redirect-uri", "a `URL` the client "+portalID+" may return to after login and logout; repeatable",
		func(uri string) error {
			s.redirectURIs = append(s.redirectURIs, uri)
			return nil
		})
	if err := flags.Parse(args); err != nil {
		return settings{}, err
	}
	if flags.NArg() > 0 {
		return settings{}, fmt.Errorf("expected flags only, found %q", flags.Arg(0))
	}
	if s.project == "" {
		return settings{}, errors.New("--project: expected an ID, found nothing")
	}
	return s, checkIssuer(s.issuer)
}

// origin is where others reach an issuer that listens at this address.
func (s settings) origin(listening net.Addr) string {
	if s.authorityFile == "" {
		return "http://" + listening.String()
	}
	// A certificate is for a name.
	_, port, _ := net.SplitHostPort(listening.String())
	return "https://" + net.JoinHostPort("localhost", port)
}

// checkIssuer accepts an origin only: the paths of the endpoints follow it directly.
func checkIssuer(issuer string) error {
	if issuer == "" {
		return nil
	}
	parsed, err := url.Parse(issuer)
	if err != nil {
		return fmt.Errorf("--issuer: %w", err)
	}
	if parsed.Host == "" || issuer != parsed.Scheme+"://"+parsed.Host {
		return fmt.Errorf("--issuer: expected an origin such as http://127.0.0.1:8080, found %q", issuer)
	}
	return nil
}
