package main

import (
	example "github.com/zitadel/oidc/v3/example/server/storage"
	"golang.org/x/text/language"
)

// organisation is one of Zitadel's organisations: each person belongs to one.
type organisation struct {
	id            string
	name          string
	primaryDomain string
}

var (
	kombisphere = organisation{"200000000000000001", "KombiSphere", "kombisphere.localhost"}
	strangers   = organisation{"200000000000000002", "Strangers", "strangers.localhost"}
)

// organisationWith is the organisation with the id, made up if there is none.
func organisationWith(id string) organisation {
	for _, known := range []organisation{kombisphere, strangers} {
		if known.id == id {
			return known
		}
	}
	return organisation{id: id, name: id, primaryDomain: id + ".localhost"}
}

// person is somebody who can log in; the password is the name.
type person struct {
	id           string
	name         string
	firstName    string
	lastName     string
	organisation organisation
	roles        []string
}

var people = []person{
	{"300000000000000001", "ada", "Ada", "Lovelace", kombisphere, []string{"user"}},
	{"300000000000000002", "grace", "Grace", "Hopper", kombisphere, []string{"user", "admin:tools"}},
	{"300000000000000003", "mallory", "Mallory", "Stranger", strangers, []string{"user"}},
}

// personCalled finds a person by name, id or login name.
func personCalled(name string) (person, bool) {
	for _, p := range people {
		if name == p.name || name == p.id || name == p.loginName() {
			return p, true
		}
	}
	return person{}, false
}

func (p person) email() string { return p.name + "@example.com" }

func (p person) fullName() string { return p.firstName + " " + p.lastName }

// loginName is made as Zitadel makes it, and like there it is not the e-mail address.
func (p person) loginName() string { return p.name + "@" + p.organisation.primaryDomain }

// userStore shows the people to the library's example storage.
type userStore struct{}

func (userStore) GetUserByID(id string) *example.User { return exampleUser(id) }

func (userStore) GetUserByUsername(name string) *example.User { return exampleUser(name) }

// ExampleClientID names a client that no request can name: the example storage gives it a key
// whose private half is public.
func (userStore) ExampleClientID() string { return "" }

func exampleUser(name string) *example.User {
	p, known := personCalled(name)
	if !known {
		return nil
	}
	return &example.User{
		ID:                p.id,
		Username:          p.loginName(),
		Password:          p.name,
		FirstName:         p.firstName,
		LastName:          p.lastName,
		Email:             p.email(),
		EmailVerified:     true,
		PreferredLanguage: language.English,
	}
}
