// Drives a real Chromium through the portal and into a KombiStack, as a person would. Prints one
// line for each thing that holds; anything that does not hold ends it.
import assert from "node:assert/strict"
import { chromium } from "playwright-core"

const { CHROMIUM, PORTAL_URL, INSTANCE_URL, GATEWAY_URL, SCREENSHOT } = process.env
const PAGE = `${INSTANCE_URL}/kombisphere/`
const held = (what) => console.log(`ok: ${what}`)

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] })
try {
  await enters("ada", "Ada Lovelace")
  await strangersStayOut()
  await nobodyIsLoggedInAsSomebodyElse()
  await codesAreGoodOnce()
} finally {
  await browser.close()
}

async function until(what, holds) {
  const deadline = Date.now() + 20_000
  while (!await holds()) {
    assert.ok(Date.now() < deadline, `${what} does not come true`)
    await new Promise((done) => { setTimeout(done, 100) })
  }
}

// A person of the issuer, in a browser of their own.
async function visitor() {
  const context = await browser.newContext({ viewport: { width: 1000, height: 720 } })
  const page = await context.newPage()
  page.setDefaultTimeout(30_000)
  const refused = []
  page.on("console", (message) => {
    if (message.text().includes("Content Security Policy")) refused.push(message.text())
  })
  return { context, page, refused }
}

async function signIn(page, name) {
  await page.getByLabel(/name/i).first().fill(name)
  await page.locator("input[type=password]").fill(name)
  await page.getByRole("button").first().click()
}

async function enters(name, fullName) {
  const { context, page, refused } = await visitor()
  await page.goto(PORTAL_URL)
  await page.getByRole("button", { name: "Sign in" }).click()
  await signIn(page, name)
  await page.getByRole("heading", { name: fullName }).waitFor()
  assert.equal(page.url(), PORTAL_URL)
  assert.match(await page.locator("#roles").textContent(), /user/)
  held("the portal shows who signed in, with code and PKCE")

  // Which model is asked does not matter; all calls of the table together grow by one.
  await until("the list of models", async () => await page.locator("#model option").count() > 0)
  const calls = async () => {
    const counts = await page.locator("#usage td:nth-child(2)").allTextContents()
    return counts.reduce((sum, count) => sum + Number(count), 0)
  }
  const before = await calls()
  await page.getByRole("button", { name: "Ask" }).click()
  await until("a row of the call", async () => await calls() === before + 1)
  assert.match(await page.locator("#answer").textContent(), /\w{3,}/)
  held("a model's answer streams in, and the ledger has the call")
  await page.screenshot({ path: SCREENSHOT })

  const urls = []
  page.on("framenavigated", (frame) => urls.push(frame.url()))
  await page.getByRole("link", { name: /Open KombiStack/ }).click()
  await page.getByText(`Signed in as ${fullName}.`).waitFor()
  await page.getByText("Demo homelab").waitFor()
  assert.equal(page.url(), `${INSTANCE_URL}/`)
  held("Open KombiStack leads into the instance, with no second password")

  const { token, record } = JSON.parse(await page.evaluate(() => localStorage.getItem("pocketbase_auth")))
  assert.equal(record.name, fullName)
  const again = await page.evaluate(async () => {
    const { default: PocketBase } = await import("/pocketbase.es.mjs")
    const client = new PocketBase(location.origin)
    return (await client.collection("users").authRefresh()).record.id
  })
  assert.equal(again, record.id)
  held("PocketBase's SDK finds the session, and can refresh it")

  assert.ok(urls.every((url) => !url.includes(token)), "a token is in a URL")
  await page.goBack()
  await page.getByRole("heading", { name: fullName }).waitFor()
  assert.equal(page.url(), PORTAL_URL)
  await page.goForward()
  await page.getByText(`Signed in as ${fullName}.`).waitFor()
  assert.equal(page.url(), `${INSTANCE_URL}/`)
  const entries = await page.evaluate(() => performance.getEntriesByType("navigation").map(({ name }) => name))
  assert.ok(entries.every((entry) => !entry.includes("code=")), entries)
  const left = await page.evaluate(() => ({ ...sessionStorage }))
  assert.ok(!JSON.stringify(left).includes("verifier"), JSON.stringify(left))
  held("nothing of it is left in an address, the history or the tab")
  assert.deepEqual(refused, [])
  held("no page asked for what its policy forbids")
  await context.close()
}

async function strangersStayOut() {
  const { context, page } = await visitor()
  await page.goto(PAGE)
  await signIn(page, "mallory")
  await page.getByText("not among those that you may enter").waitFor()
  assert.ok(page.url().startsWith(PORTAL_URL), page.url())
  held("a stranger stays at the portal and is told why")

  const foreign = new URLSearchParams({
    instance: "homelab", redirect_uri: "https://evil.example/", state: "s",
    code_challenge: "A".repeat(43), code_challenge_method: "S256",
  })
  await page.goto(`${PORTAL_URL}?${foreign}`)
  await page.getByText("not among those that you may enter").waitFor()
  await context.close()

  const owner = await visitor()
  await owner.page.goto(`${PORTAL_URL}?${foreign}`)
  await signIn(owner.page, "ada")
  await owner.page.getByText("may not be handed to this page").or(
    owner.page.getByText("not the page that the instance is registered with")).first().waitFor()
  assert.ok(owner.page.url().startsWith(PORTAL_URL), owner.page.url())
  held("nobody is sent to a page that is not the instance's")
  await owner.context.close()
}

// Login CSRF: the attacker has a code of their own, and makes somebody's browser open it.
async function nobodyIsLoggedInAsSomebodyElse() {
  const { context, page } = await visitor()
  for (const fragment of [`code=${"A".repeat(43)}&state=guessed`, `code=${"A".repeat(43)}&state=`]) {
    await page.goto("about:blank")
    await page.goto(`${PAGE}#${fragment}`)
    await page.getByText("was not started here").waitFor()
    assert.equal(page.url(), PAGE)
    assert.equal(await page.evaluate(() => localStorage.getItem("pocketbase_auth")), null)
  }
  held("a code that this browser did not ask for logs nobody in")
  await context.close()
}

async function codesAreGoodOnce() {
  const { context, page } = await visitor()
  const redemptions = []
  page.on("request", (request) => {
    if (request.url().endsWith("/sso/redeem")) redemptions.push(request.postData())
  })
  await page.goto(PAGE)
  await signIn(page, "grace")
  await page.getByText("Signed in as Grace Hopper.").waitFor()
  assert.equal(redemptions.length, 1)
  const redeem = (form) => page.evaluate(async ([url, body]) => {
    const headers = { "content-type": "application/x-www-form-urlencoded" }
    const response = await fetch(url, { method: "POST", body, headers })
    return { status: response.status, code: (await response.json()).code }
  }, [`${GATEWAY_URL}/sso/redeem`, form])
  assert.deepEqual(await redeem(redemptions[0]), { status: 400, code: "code_invalid" })
  held("a code that is redeemed again is refused")

  await until("the session's end", async () => {
    const status = await page.evaluate(async () => {
      const { token } = JSON.parse(localStorage.getItem("pocketbase_auth"))
      const headers = { authorization: token }
      return (await fetch("/api/collections/users/auth-refresh", { method: "POST", headers })).status
    })
    return status === 401
  })
  held("and ends the session that it had opened")
  await context.close()
}
