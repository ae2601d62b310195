package main

import (
	"context"
	_ "embed"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	loginPath     = "/login"
	loggedOutPath = "/logged-out"
)

//go:embed login.html
var loginHTML string

var loginPage = template.Must(template.New("login").Parse(loginHTML))

// login is the page between an authorization request and its code.
type login struct {
	// check marks the request as done by the person, if the password is right.
	check func(name, password, request string) error
	// next is where the library goes on with a request.
	next func(ctx context.Context, request string) string
	// withIssuer gives a request the issuer that next wants.
	withIssuer func(http.HandlerFunc) http.HandlerFunc
}

func newLogin(storage *storage, provider *op.Provider) *login {
	return &login{
		check:      storage.CheckUsernamePassword,
		next:       op.AuthCallbackURL(provider),
		withIssuer: op.NewIssuerInterceptor(provider.IssuerFromRequest).HandlerFunc,
	}
}

func loginURL(request string) string {
	return loginPath + "?" + url.Values{"request": {request}}.Encode()
}

func (l *login) register(mux *http.ServeMux) {
	mux.HandleFunc("GET "+loginPath, l.ask)
	mux.HandleFunc("POST "+loginPath, l.withIssuer(l.answer))
	mux.HandleFunc("GET "+loggedOutPath, loggedOut)
}

func (l *login) ask(w http.ResponseWriter, r *http.Request) {
	showLogin(w, http.StatusOK, r.FormValue("request"), false)
}

func (l *login) answer(w http.ResponseWriter, r *http.Request) {
	request := r.FormValue("request")
	if err := l.check(r.FormValue("name"), r.FormValue("password"), request); err != nil {
		slog.Info("login refused", "error", err)
		showLogin(w, http.StatusUnauthorized, request, true)
		return
	}
	http.Redirect(w, r, l.next(r.Context(), request), http.StatusSeeOther)
}

func showLogin(w http.ResponseWriter, status int, request string, refused bool) {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	// No form-action: browsers hold it against the redirect that follows the form, too.
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; style-src 'unsafe-inline'")
	header.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	var names []string
	for _, person := range people {
		names = append(names, person.name)
	}
	err := loginPage.Execute(w, struct {
		Request string
		Refused bool
		Names   []string
	}{request, refused, names})
	if err != nil {
		slog.Warn("cannot show the login page", "error", err)
	}
}

func loggedOut(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "You are logged out.\n")
}
