/// <reference path="../pb_data/types.d.ts" />

// The signed requests that were used, by `jti`, until they would have expired anyway.
//
// A plain table and not a collection: no rule can open it, and no API reaches it.
migrate((app) => {
  app.db().newQuery(`
    CREATE TABLE _kombisphere_spent (
      jti       TEXT    PRIMARY KEY NOT NULL,
      expires_s INTEGER NOT NULL
    ) WITHOUT ROWID
  `).execute()
}, (app) => {
  app.db().newQuery("DROP TABLE _kombisphere_spent").execute()
})
