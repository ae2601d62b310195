//! Properties: what a filter may read and write, and where.

use super::{Phase, Stop, Vm, brief};
use crate::rule::Rule;

/// Variables of nginx that can be written, and that the proxied request is made of.
const WRITABLE: &[&str] = &[
    "ngx.upstream_uri",
    "ngx.upstream_host",
    "ngx.upstream_x_forwarded_for",
    "ngx.upstream_connection",
    "ngx.upstream_x_forwarded_host",
    "ngx.upstream_x_forwarded_path",
    "ngx.upstream_x_forwarded_prefix",
    "ngx.upstream_via",
    // Changes the port and the Host header, not the address.
    "kong.service.target",
];

impl Vm {
    /// `proxy_get_property`; `path` as the ABI passes it, parts separated by NUL.
    pub(super) fn get_property(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>, Stop> {
        let name = dotted(path);
        if self.on_kong() {
            if self.in_root() {
                return Err(self.forbid(
                    Rule::PropertyRead,
                    format!("read the property {name} in a root context"),
                ));
            }
            if name == "kong" || name.starts_with("kong.") {
                return Err(self.forbid(Rule::KongProperty, format!("read the property {name}")));
            }
        }
        let value = self.property(&name);
        self.led(|| {
            format!("property {name} is {}", value.as_deref().map_or("absent".to_owned(), brief))
        });
        Ok(value)
    }

    fn property(&mut self, name: &str) -> Option<Vec<u8>> {
        let on_kong = self.on_kong();
        let zone = self.shared.borrow().settings.zone_bytes;
        let http = self.http()?;
        let text = |text: &str| Some(text.as_bytes().to_vec());
        match name {
            // Envoy tells the port, too.
            "source.address" if on_kong => return text(&http.source),
            "source.address" => return text(&format!("{}:50000", bracketed(&http.source))),
            "request.path" if !on_kong => return Some(http.raw_target.clone()),
            "request.id" if !on_kong => return Some(http.request_id.clone().into_bytes()),
            _ if !on_kong => return None,
            _ => {}
        }
        if let Some(value) = http.properties.get(name) {
            return Some(value.clone());
        }
        match name {
            // Set beside the zone in kong/kong.conf.
            "ngx.kombi_zone" => zone.map(|bytes| bytes.to_string().into_bytes()),
            "ngx.kong_request_id" => Some(http.request_id.clone().into_bytes()),
            "ngx.request_uri" => Some(http.raw_target.clone()),
            "ngx.remote_addr" => text(&http.source),
            _ => None,
        }
    }

    /// `proxy_set_property`.
    pub(super) fn set_property(&mut self, path: &[u8], value: &[u8]) -> Result<(), Stop> {
        let name = dotted(path);
        self.led(|| format!("set property {name} to {}", brief(value)));
        if self.on_kong() {
            if self.in_root() {
                return Err(self.forbid(
                    Rule::PropertyWrite,
                    format!("wrote the property {name} in a root context"),
                ));
            }
            if name == "kong.service.upstream" {
                self.object(Rule::WithoutEffect, format!("wrote the property {name}"));
            } else if !name.starts_with("kong.ctx.shared.") && !WRITABLE.contains(&name.as_str()) {
                return Err(self.forbid(Rule::PropertyWrite, format!("wrote the property {name}")));
            } else if !matches!(
                self.phase(),
                Some(Phase::RequestHeaders | Phase::RequestBody | Phase::CallResponse)
            ) && name.starts_with("ngx.")
            {
                self.object(
                    Rule::WithoutEffect,
                    format!("wrote the property {name} after the request had left"),
                );
            }
        }
        if let Some(http) = self.http() {
            http.properties.insert(name, value.to_vec());
        }
        Ok(())
    }
}

/// An address as it stands before a port.
fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

fn dotted(path: &[u8]) -> String {
    String::from_utf8_lossy(path).replace('\0', ".")
}
