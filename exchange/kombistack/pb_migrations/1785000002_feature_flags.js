/// <reference path="../pb_data/types.d.ts" />

// What KombiSphere has turned on for a user: `{version, flags}`. The user sees it, and the hook keeps
// clients from changing it. System, so that it is not renamed or removed by a click.
migrate((app) => {
  const users = app.findCollectionByNameOrId("users")

  users.fields.add(new JSONField({ name: "feature_flags", system: true, maxSize: 32 * 1024 }))

  app.save(users)
}, (app) => {
  const users = app.findCollectionByNameOrId("users")

  // PocketBase refuses to remove a system field, so it first stops being one.
  users.fields.getByName("feature_flags").system = false
  app.save(users)

  users.fields.removeByName("feature_flags")
  app.save(users)
})
