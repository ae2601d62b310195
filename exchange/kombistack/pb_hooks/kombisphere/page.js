// The page where a login of KombiSphere's portal becomes a session of this instance.

const { Misconfigured, originOf, pageSettingsFromEnvironment } = require("./settings.js")

const NONCE_LENGTH = 32

function showPage(e) {
  const header = e.response.header()
  header.set("Cache-Control", "no-store")
  header.set("Referrer-Policy", "no-referrer")
  header.set("X-Content-Type-Options", "nosniff")

  try {
    const settings = pageSettingsFromEnvironment()
    const nonce = $security.randomString(NONCE_LENGTH)
    header.set("Content-Security-Policy", [
      "default-src 'none'",
      `script-src 'nonce-${nonce}'`,
      `style-src 'nonce-${nonce}'`,
      `connect-src ${originOf(settings.gateway)}`,
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ].join("; "))

    return e.html(200, $template.loadFiles(`${__hooks}/kombisphere/page.html`).render({ nonce, settings }))
  } catch (err) {
    if (!(err instanceof Misconfigured)) {
      throw err
    }

    e.app.logger().error("KombiSphere: the sign-in page is not configured", "reason", err.message)

    return e.string(503, "KombiSphere sign-in is not configured on this instance; its owner finds the reason in the logs.\n")
  }
}

module.exports = { showPage }
