package main

import (
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/types"
)

const (
	homelabsCollection = "homelabs"
	demoHomelab        = "Demo homelab"
)

func init() {
	core.AppMigrations.Register(createHomelabs, dropHomelabs, "1750000000_homelabs.go")
}

// createHomelabs gives every signed-in user of the instance something to open.
func createHomelabs(app core.App) error {
	users, err := app.FindCollectionByNameOrId("users")
	if err != nil {
		return err
	}

	homelabs := core.NewBaseCollection(homelabsCollection)
	homelabs.ListRule = types.Pointer(`@request.auth.id != ""`)
	homelabs.ViewRule = types.Pointer(`@request.auth.id != ""`)
	homelabs.Fields.Add(
		&core.TextField{Name: "name", Required: true},
		&core.RelationField{Name: "owner", CollectionId: users.Id, MaxSelect: 1},
	)
	if err := app.Save(homelabs); err != nil {
		return err
	}

	demo := core.NewRecord(homelabs)
	demo.Set("name", demoHomelab)

	return app.Save(demo)
}

func dropHomelabs(app core.App) error {
	homelabs, err := app.FindCollectionByNameOrId(homelabsCollection)
	if err != nil {
		return err
	}

	return app.Delete(homelabs)
}
