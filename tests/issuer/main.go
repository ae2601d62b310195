// Command issuer stands in for Zitadel in the demo and in the integration tests: a real OpenID
// provider, built on Zitadel's own library, whose access tokens look like Zitadel's. Besides the
// protocol it mints whatever token a test orders, so it must never guard anything of value.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// shutdownTimeout is shorter than what those who start the issuer wait before they kill it.
const shutdownTimeout = 3 * time.Second

func main() {
	// Stdout belongs to the one line that says where the issuer listens.
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		slog.Error("the issuer failed", "error", err)
		os.Exit(1)
	}
}

// run serves until ctx is done. When it is ready it writes one line of JSON to stdout.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	settings, err := parseSettings(args)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", settings.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	if settings.authorityFile != "" {
		config, err := newTLS(settings.authorityFile)
		if err != nil {
			return fmt.Errorf("--tls-authority: %w", err)
		}
		listener = tls.NewListener(listener, config)
	}
	if settings.issuer == "" {
		settings.issuer = settings.origin(listener.Addr())
	}
	handler, err := newHandler(settings)
	if err != nil {
		return err
	}

	server := newServer(handler)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	if err := announce(stdout, listener.Addr(), settings.issuer); err != nil {
		return err
	}

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return shutDown(server)
	}
}

func announce(stdout io.Writer, address net.Addr, issuer string) error {
	return json.NewEncoder(stdout).Encode(struct {
		Listening string `json:"listening"`
		Issuer    string `json:"issuer"`
	}{address.String(), issuer})
}

func shutDown(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("not every request ended within %s: %w", shutdownTimeout, err)
	}
	return nil
}
