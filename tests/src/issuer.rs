//! The test issuer: a real OpenID provider that mints whatever a test needs.

use std::{ffi::OsStr, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Client;
use serde_json::{Value, json};

use crate::{
    answer::{self, Answer},
    artifacts::Artifacts,
    port,
    process::Process,
    run_dir::RunDir,
};

/// The Zitadel project that the tokens are for.
pub const PROJECT: &str = "273456789012345678";

/// Who may introspect tokens there, and with which secret. It guards nothing: whoever can reach the
/// issuer can have any token minted.
pub const INTROSPECTOR: (&str, &str) = ("kombi-exchange", "a secret of tests");

/// A running issuer.
pub struct Issuer {
    process: Process,
    url: String,
    client: Client,
}

impl Issuer {
    /// Starts an issuer on a free port, at which nobody can sign in.
    pub async fn start(artifacts: &Artifacts, run: &RunDir) -> Result<Self> {
        Self::start_for(artifacts, run, "http://127.0.0.1:1/").await
    }

    /// Starts an issuer on a free port, for people who come from the page `portal`.
    pub async fn start_for(artifacts: &Artifacts, run: &RunDir, portal: &str) -> Result<Self> {
        let (address, client) = (format!("127.0.0.1:{}", port::free()?), answer::client()?);
        let url = format!("http://{address}");
        let options = ["--redirect-uri".as_ref(), portal.as_ref()];
        Self::serve(artifacts, run, &address, url, &options, client).await
    }

    /// Starts an issuer that is reached over TLS only; the certificate of its authority is written
    /// to `authority`.
    pub async fn start_with_tls(
        artifacts: &Artifacts,
        run: &RunDir,
        authority: &Path,
    ) -> Result<Self> {
        let port = port::free()?;
        let (address, url) = (format!("127.0.0.1:{port}"), format!("https://localhost:{port}"));
        let options = ["--tls-authority".as_ref(), authority.as_os_str()];
        // Tests order tokens, they do not check certificates; the gateway must.
        let client = answer::careless_client()?;
        Self::serve(artifacts, run, &address, url, &options, client).await
    }

    async fn serve(
        artifacts: &Artifacts,
        run: &RunDir,
        address: &str,
        url: String,
        options: &[&OsStr],
        client: Client,
    ) -> Result<Self> {
        let mut command = Command::new(&artifacts.issuer);
        command.args(options).args(["--listen", address, "--issuer", &url, "--project", PROJECT]);
        command.args(["--introspection-secret", INTROSPECTOR.1]);
        let mut process = Process::spawn("issuer", command, run.path())?;
        let metadata = format!("{url}/.well-known/openid-configuration");
        process.wait_for_as(&client, &metadata).await?;
        Ok(Self { process, url, client })
    }

    /// Its identifier.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// An ordinary access token of one of the demo's people.
    pub async fn token(&self, person: &str) -> Result<String> {
        self.mint(json!({ "sub": person })).await
    }

    /// An access token to order; see the issuer's `POST /test/mint`.
    pub async fn mint(&self, order: Value) -> Result<String> {
        let answer = self.post("/test/mint", &order).await?;
        let token = answer["access_token"].as_str();
        Ok(token.with_context(|| format!("the issuer minted nothing: {answer}"))?.to_owned())
    }

    /// The Zitadel id of one of the demo's people.
    pub async fn subject(&self, person: &str) -> Result<String> {
        let token = self.token(person).await?;
        let payload = token.split('.').nth(1).context("a JWT has a payload")?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
        Ok(claims["sub"].as_str().context("a token has a sub")?.to_owned())
    }

    /// Signs with a new key from now on; the old ones stay published, or not.
    pub async fn rotate(&self, algorithm: &str, drop_previous: bool) -> Result<()> {
        let order = json!({"algorithm": algorithm, "drop_previous": drop_previous});
        self.post("/test/rotate", &order).await.map(drop)
    }

    /// How often the key set was asked for.
    pub async fn key_set_requests(&self) -> Result<u64> {
        let answer = self.get("/test/stats").await?;
        answer["jwks"].as_u64().context("the issuer counts requests for its keys")
    }

    /// How often it was asked what a token means.
    pub async fn introspections(&self) -> Result<u64> {
        let answer = self.get("/test/stats").await?;
        answer["introspection"].as_u64().context("the issuer counts introspections")
    }

    /// Takes a token back (RFC 7009).
    pub async fn revoke(&self, token: &str) -> Result<()> {
        let request = self.client.post(format!("{}/oauth/v2/revoke", self.url));
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}&client_id=portal"));
        let answer = Answer::to(request).await?;
        if answer.status != 200 {
            let body = String::from_utf8_lossy(&answer.body);
            bail!("the issuer did not revoke the token: {} {body}", answer.status);
        }
        Ok(())
    }

    /// Where its key set is.
    pub async fn key_set_url(&self) -> Result<String> {
        let answer = self.get("/.well-known/openid-configuration").await?;
        Ok(answer["jwks_uri"].as_str().context("a discovery document has a jwks_uri")?.to_owned())
    }

    /// Its RS256 key in PEM, for a gateway that reads no key sets.
    pub async fn key_pem(&self) -> Result<String> {
        let answer = self.get("/test/key").await?;
        Ok(answer["pem"].as_str().context("the issuer tells its key")?.to_owned())
    }

    /// Ends the issuer.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    async fn get(&self, path: &str) -> Result<Value> {
        Ok(Answer::to(self.client.get(format!("{}{path}", self.url))).await?.json())
    }

    async fn post(&self, path: &str, order: &Value) -> Result<Value> {
        let request = self.client.post(format!("{}{path}", self.url)).json(order);
        let answer = Answer::to(request).await?;
        if answer.status != 200 {
            let body = String::from_utf8_lossy(&answer.body);
            bail!("the issuer refused {order} with {}: {body}", answer.status);
        }
        Ok(answer.json())
    }
}
