//! A portal as KombiSphere has one: the pages of `tests/portal`, served behind the gateway.

use std::{fs, sync::Arc};

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY},
};
use serde_json::json;

use crate::{
    artifacts::{self, Node},
    issuer::PROJECT,
    listening::Listening,
};

/// Its path at the gateway.
pub const PATH: &str = "/portal/";

/// The folder with what it is made of, and with what drives a browser through it.
pub const SOURCE: &str = "tests/portal";

/// A running portal. Dropped, it stops accepting.
pub struct Portal(Listening);

/// What it serves.
struct Pages {
    files: Vec<(&'static str, &'static str, Bytes)>,
    policy: HeaderValue,
}

impl Portal {
    /// Starts it on a free port, for the people of `issuer` and instances, each with its page.
    pub async fn start(issuer: &str, instances: &[(String, String)]) -> Result<Self> {
        let pages = Arc::new(Pages::new(issuer, instances)?);
        let answer = move |request: Request<Incoming>| {
            std::future::ready(pages.answer(request.uri().path()))
        };
        Listening::start(answer).await.map(Self)
    }

    /// Where it listens; people go through the gateway.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }
}

impl Pages {
    fn new(issuer: &str, instances: &[(String, String)]) -> Result<Self> {
        let node = Node::install(SOURCE)?;
        let client = "node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js";
        let own = |name: &str| {
            let path = artifacts::source().join(SOURCE).join(name);
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let instances: Vec<_> =
            instances.iter().map(|(id, page)| json!({"id": id, "page": page})).collect();
        let settings = json!({
            "issuer": issuer, "client": "portal", "project": PROJECT, "instances": instances,
        });
        let (html, css) = ("text/html; charset=utf-8", "text/css; charset=utf-8");
        let (script, json) = ("text/javascript; charset=utf-8", "application/json");
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' {issuer}; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Ok(Self {
            files: vec![
                ("", html, own("index.html")?.into()),
                ("portal.css", css, own("portal.css")?.into()),
                ("portal.js", script, own("portal.js")?.into()),
                ("oidc-client-ts.js", script, fs::read(node.folder.join(client))?.into()),
                ("settings.json", json, settings.to_string().into()),
            ],
            policy: HeaderValue::try_from(policy)?,
        })
    }

    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let name = path.strip_prefix(PATH);
        let Some((_, media_type, bytes)) = self.files.iter().find(|(file, ..)| Some(*file) == name)
        else {
            let mut missing = Response::new(Full::from("there is no such page\n"));
            *missing.status_mut() = hyper::StatusCode::NOT_FOUND;
            return missing;
        };
        let mut response = Response::new(Full::from(bytes.clone()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
