/// <reference path="../pb_data/types.d.ts" />

// The link between a local user and a KombiSphere account: `zitadel_sub` of the `users` collection.
//
// Hidden, so that PocketBase neither shows it to clients nor takes it from them nor lets them filter
// by it. System, so that it is not renamed or removed by a click. Unique, so that one account is
// never two users; empty is what every user without an account has, and does not count.
migrate((app) => {
  const users = app.findCollectionByNameOrId("users")

  users.fields.add(new TextField({ name: "zitadel_sub", hidden: true, system: true, max: 255 }))
  users.addIndex("idx_users_zitadel_sub", true, "zitadel_sub", "zitadel_sub != ''")

  app.save(users)
}, (app) => {
  const users = app.findCollectionByNameOrId("users")

  // PocketBase refuses to remove a system field, so it first stops being one.
  users.fields.getByName("zitadel_sub").system = false
  app.save(users)

  users.removeIndex("idx_users_zitadel_sub")
  users.fields.removeByName("zitadel_sub")
  app.save(users)
})
