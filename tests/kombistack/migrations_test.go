package main

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheMigrationsCanBeTakenBack(t *testing.T) {
	t.Parallel()
	dir := install(t)
	migrate := func(args ...string) {
		t.Helper()
		command := kombistack(dir, nil, append([]string{"migrate"}, args...)...)
		command.Stdin = strings.NewReader("y\n")
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("migrate %v: expected success, found %v:\n%s", args, err, out)
		}
	}

	migrate("up")
	migrate("down", "3")
	if schema := sqliteSchema(t, dir); strings.Contains(schema, "zitadel_sub") || strings.Contains(schema, "feature_flags") || strings.Contains(schema, "_kombisphere_spent") {
		t.Errorf("expected nothing of ours to be left, found %s", schema)
	}
	migrate("up")
	if schema := sqliteSchema(t, dir); !strings.Contains(schema, "zitadel_sub") || !strings.Contains(schema, "_kombisphere_spent") {
		t.Errorf("expected the column and the table, found %s", schema)
	}
}

// sqliteSchema is the statements that made the tables and indexes of an instance that is not running.
func sqliteSchema(t *testing.T, dir string) (schema string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "pb_data", "data.db"))
	if err != nil {
		t.Fatalf("expected the database to open, found %v", err)
	}
	defer db.Close()
	if err := db.QueryRow("SELECT group_concat(name || ' ' || sql, ';') FROM sqlite_master").Scan(&schema); err != nil {
		t.Fatalf("expected a schema, found %v", err)
	}
	return schema
}
