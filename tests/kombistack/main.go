// Command kombistack stands in for the KombiStack product, which has PocketBase inside: the same
// server, the same folders for hooks and migrations, and one collection of its own to open.
package main

import (
	"log"
	"os"

	"github.com/pocketbase/pocketbase"
	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/plugins/jsvm"
	"github.com/pocketbase/pocketbase/plugins/migratecmd"
)

// What PocketBase's own binary keeps warm; the hooks run in as many contexts at once.
const hooksPoolSize = 15

func main() {
	app := pocketbase.New()

	var hooksDir, migrationsDir, publicDir string
	flags := app.RootCmd.PersistentFlags()
	flags.StringVar(&hooksDir, "hooksDir", "", "the directory with the JS hooks")
	flags.StringVar(&migrationsDir, "migrationsDir", "", "the directory with the JS migrations")
	flags.StringVar(&publicDir, "publicDir", "", "the directory with the files that it serves; none without it")

	// The plugins read their folders when they are registered, before the command itself is run.
	if err := app.RootCmd.ParseFlags(os.Args[1:]); err != nil {
		log.Fatalf("expected flags that kombistack knows, found: %v; see kombistack --help", err)
	}

	jsvm.MustRegister(app, jsvm.Config{
		HooksDir:      hooksDir,
		HooksPoolSize: hooksPoolSize,
		MigrationsDir: migrationsDir,
	})
	migratecmd.MustRegister(app, app.RootCmd, migratecmd.Config{
		Dir:          migrationsDir,
		TemplateLang: migratecmd.TemplateLangJS,
	})

	if publicDir != "" {
		app.OnServe().BindFunc(func(e *core.ServeEvent) error {
			e.Router.GET("/{path...}", apis.Static(os.DirFS(publicDir), false))
			return e.Next()
		})
	}

	if err := app.Start(); err != nil {
		log.Fatal(err)
	}
}
