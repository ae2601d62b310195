// What the owner of the instance configures, from the environment.

const base64url = require("./base64url.js")

const KEY_BYTES = 32

// A setting is missing or wrong. Nothing but the owner can help, so nobody is signed in.
class Misconfigured extends Error {}

function settingsFromEnvironment() {
  return { instanceId: instanceId(), key: key() }
}

function instanceId() {
  const id = $os.getenv("KOMBISPHERE_INSTANCE_ID")

  if (id === "") {
    throw new Misconfigured("KOMBISPHERE_INSTANCE_ID: expected the instance's id, found nothing; set it and restart.")
  }

  return id
}

// The key stays text: PocketBase's HMAC takes a string, and a string cannot carry 32 arbitrary bytes
// unchanged. The gateway signs with the same 43 characters.
function key() {
  const text = $os.getenv("KOMBISPHERE_SSO_KEY")
  const bytes = base64url.decode(text)

  if (bytes === null || bytes.length !== KEY_BYTES) {
    throw new Misconfigured(
      `KOMBISPHERE_SSO_KEY: expected ${KEY_BYTES} bytes as base64url without padding (43 characters), ` +
      `found ${text === "" ? "nothing" : "something else"}; copy it from KombiSphere and restart.`,
    )
  }

  return text
}

module.exports = { Misconfigured, settingsFromEnvironment }
