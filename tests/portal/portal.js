// A portal as KombiSphere has one: who am I, open my KombiStack, ask a model, what have I used.
// The person's token stays in this tab and goes nowhere but to the gateway.

const { UserManager, WebStorageStateStore } = globalThis.oidc
const ROLES = "urn:zitadel:iam:org:project:roles"
const ORGANISATION = "urn:zitadel:iam:user:resourceowner:name"
const PLAN_PREFIX = "plan:"

const at = (id) => document.getElementById(id)
const say = (text) => { at("says").textContent = text }

const settings = await (await fetch("settings.json")).json()
const people = new UserManager({
  authority: settings.issuer,
  client_id: settings.client,
  redirect_uri: new URL(".", location.href).href,
  // The last one is Zitadel's: it makes the token good for the project's APIs.
  scope: `openid profile email urn:zitadel:iam:org:project:id:${settings.project}:aud`,
  loadUserInfo: true,
  // Nothing of a person outlives the tab.
  userStore: new WebStorageStateStore({ store: sessionStorage }),
  stateStore: new WebStorageStateStore({ store: sessionStorage }),
})

at("sign-in").onclick = () => people.signinRedirect()
at("sign-out").onclick = async () => { await people.removeUser(); location.replace(".") }
at("ask").onsubmit = (event) => { event.preventDefault(); attempt(ask) }

await attempt(start)

async function attempt(what) {
  try {
    await what()
  } catch (error) {
    say(error.message)
  }
}

async function start() {
  const query = new URLSearchParams(location.search)
  // What an instance's page asks for, now or before the person signed in.
  let handOff = query.has("redirect_uri") ? Object.fromEntries(query) : undefined
  if (query.has("code") && query.has("state") && handOff === undefined) {
    handOff = (await people.signinCallback()).state?.handOff
  }
  history.replaceState(null, "", ".")

  const user = await people.getUser()
  if (user === null || user.expired) {
    if (handOff !== undefined) {
      return people.signinRedirect({ state: { handOff } })
    }
    at("sign-in").hidden = false
    return say("Sign in to see what is yours.")
  }
  if (handOff !== undefined) {
    return hand(handOff)
  }
  return show(user)
}

// Gets a code for the page that asks, and sends the browser back there. The exchange says whether
// that page is the instance's; nobody is sent anywhere else.
async function hand({ instance, redirect_uri, code_challenge, code_challenge_method, state }) {
  say("Opening your KombiStack…")
  const { code } = await call(`/sso/instances/${encodeURIComponent(instance)}/code`, {
    method: "POST",
    body: JSON.stringify({ redirect_uri, code_challenge, code_challenge_method }),
  })
  location.replace(`${redirect_uri}#${new URLSearchParams({ code, state })}`)
}

async function show(user) {
  at("sign-out").hidden = false
  at("home").hidden = false
  const claims = claimsOf(user.access_token)
  const roles = Object.keys(claims[ROLES] ?? {})
  const plans = roles.filter((role) => role.startsWith(PLAN_PREFIX))
  at("who").textContent = user.profile.name ?? user.profile.sub
  at("email").textContent = user.profile.email ?? "not known"
  at("organisation").textContent = claims[ORGANISATION] ?? "none"
  at("roles").textContent = roles.filter((role) => !role.startsWith(PLAN_PREFIX)).join(", ") || "none"
  at("plan").textContent = plans.map((role) => role.slice(PLAN_PREFIX.length)).join(", ") || "the default one"
  at("open").replaceChildren(...settings.instances.map(({ id, page }) => {
    const link = document.createElement("a")
    link.className = "button"
    link.href = page
    link.textContent = `Open KombiStack (${id})`
    return link
  }))
  say("")
  await models()
  await usage()
}

async function models() {
  const { data } = await call("/ai/v1/models")
  at("model").replaceChildren(...data.map(({ id }) => new Option(id)))
}

async function ask() {
  at("answer").textContent = ""
  const response = await send("/ai/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model: at("model").value,
      stream: true,
      messages: [{ role: "user", content: at("question").value }],
    }),
  })
  let rest = ""
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n")
    rest = lines.pop()
    for (const line of lines.filter((line) => line.startsWith("data: {"))) {
      at("answer").append(JSON.parse(line.slice(6)).choices?.[0]?.delta?.content ?? "")
    }
  }
  await settled()
}

// The ledger has a call's numbers a moment after its end; until then the call is open.
async function settled() {
  const before = at("usage").textContent
  let open = true
  for (let attempts = 0; attempts < 50 && (open || at("usage").textContent === before); attempts += 1) {
    await new Promise((done) => { setTimeout(done, 200) })
    open = await usage()
  }
}

// Shows what was used, and returns whether calls are open.
async function usage() {
  const { rows } = await call("/me/usage?by=model")
  at("usage").replaceChildren(...rows.map((row) => {
    const line = document.createElement("tr")
    for (const value of [row.model, row.calls, row.input_tokens, row.output_tokens]) {
      line.append(Object.assign(document.createElement("td"), { textContent: value }))
    }
    return line
  }))
  return rows.some((row) => row.open > 0)
}

async function call(path, request) {
  return (await send(path, request)).json()
}

// A request in the person's name; a refusal is an error that says what to do.
async function send(path, request = {}) {
  const user = await people.getUser()
  const headers = { ...request.headers, authorization: `Bearer ${user?.access_token}` }
  const response = await fetch(path, { ...request, headers })
  if (!response.ok) {
    const refusal = await response.json().catch(() => ({}))
    throw new Error(refusal.detail ?? refusal.error?.message ?? `The gateway answered ${response.status}.`)
  }
  return response
}

function claimsOf(jwt) {
  const payload = jwt.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(payload), (char) => char.charCodeAt(0))))
}
