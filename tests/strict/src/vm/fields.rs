//! Header maps: what a filter may read and change, and what becomes of a change.

use super::{Phase, Stop, Vm, brief, status};
use crate::{headers::Headers, rule::Rule};

/// The maps of the ABI that a filter without gRPC has to do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Map {
    Request,
    Trailers,
    Response,
    Call,
}

/// What is done to a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit<'a> {
    Replace(&'a [u8]),
    Add(&'a [u8]),
    Remove,
}

impl Vm {
    /// `proxy_get_header_map_pairs`.
    pub(super) fn map_pairs(&mut self, map: u32) -> Result<Vec<u8>, Stop> {
        let map = self.readable(map)?;
        let headers = self.map(map);
        self.led(|| format!("read all {} headers of the {map:?}", headers.len()));
        Ok(headers.serialize())
    }

    /// `proxy_get_header_map_value`.
    pub(super) fn map_value(&mut self, map: u32, name: &[u8]) -> Result<Option<Vec<u8>>, Stop> {
        let map = self.readable(map)?;
        let value = match (map, name, &self.frame) {
            (Map::Call, b":dispatch_status", Some(frame)) => frame
                .delivery
                .as_ref()
                .and_then(|delivery| delivery.dispatch_status)
                .map(|status| status.as_bytes().to_vec()),
            _ => {
                let headers = self.map(map);
                if self.on_kong() {
                    headers.first(name).map(<[u8]>::to_vec)
                } else {
                    // Envoy joins what occurs more than once.
                    let all = headers.all(name);
                    (!all.is_empty()).then(|| all.join(&b","[..]))
                }
            }
        };
        self.led(|| {
            let value = value.as_deref().map_or("absent".to_owned(), brief);
            format!("header {} of the {map:?} is {value}", brief(name))
        });
        Ok(value)
    }

    /// Replaces, adds, or removes a header.
    pub(super) fn edit_map(&mut self, map: u32, name: &[u8], edit: Edit<'_>) -> Result<u32, Stop> {
        self.led(|| match edit {
            Edit::Replace(value) => {
                format!("set header {} of map {map} to {}", brief(name), brief(value))
            }
            Edit::Add(value) => {
                format!("add header {} to map {map}: {}", brief(name), brief(value))
            }
            Edit::Remove => format!("remove header {} from map {map}", brief(name)),
        });
        match self.writable(map)? {
            Map::Request => Ok(self.edit_request(name, edit)),
            Map::Trailers => match edit {
                Edit::Remove => {
                    self.http().map(|http| http.trailers.remove(name));
                    Ok(status::OK)
                }
                _ => Err(self.forbid(Rule::Unmeasured, "set a trailer")),
            },
            Map::Response => {
                if let Some(http) = self.http() {
                    match edit {
                        Edit::Replace(value) => http.response.replace(name, value),
                        Edit::Add(value) => http.response.push(name, value),
                        Edit::Remove => drop(http.response.remove(name)),
                    }
                }
                Ok(status::OK)
            }
            Map::Call => {
                Err(self.forbid(Rule::Unmeasured, "changed the headers of a call's answer"))
            }
        }
    }

    fn edit_request(&mut self, name: &[u8], edit: Edit<'_>) -> u32 {
        let on_kong = self.on_kong();
        let in_body = self.phase() == Some(Phase::RequestBody);
        let Some(http) = self.http() else { return status::BAD_ARGUMENT };
        if !on_kong {
            if in_body && !http.head_held {
                self.object(
                    Rule::HeadersNotHeld,
                    format!("changed the request header {}", brief(name)),
                );
                return status::INTERNAL_FAILURE;
            }
            match edit {
                Edit::Replace(value) => http.seen.replace(name, value),
                Edit::Add(value) => http.seen.push(name, value),
                Edit::Remove => drop(http.seen.remove(name)),
            }
            http.wire.clone_from(&http.seen);
            return status::OK;
        }
        let occurrences = http.wire.all(name).len();
        match edit {
            Edit::Replace(value) => {
                http.seen.replace_first(name, value);
                http.wire.replace_first(name, value);
                if name == b":path" {
                    self.object(Rule::WithoutEffect, "set the request's :path");
                } else if occurrences > 1 {
                    self.object(
                        Rule::ReliesOnOverwrite,
                        format!("set {}, which the client sent {occurrences} times", brief(name)),
                    );
                }
            }
            Edit::Add(value) => {
                http.seen.push(name, value);
                http.wire.push(name, value);
            }
            Edit::Remove => {
                http.seen.remove(name);
                // Nothing was removed that was not there: harmless.
                if occurrences > 0 {
                    self.object(
                        Rule::ReliesOnRemoval,
                        format!("removed the request header {}", brief(name)),
                    );
                }
            }
        }
        status::OK
    }

    /// `proxy_set_header_map_pairs`.
    pub(super) fn set_map(&mut self, map: u32, pairs: &[u8]) -> Result<u32, Stop> {
        let Some(headers) = Headers::parse(pairs) else {
            return Err(self.forbid(Rule::Trap, "passed a header map that cannot be read"));
        };
        self.led(|| format!("set map {map} to {} headers", headers.len()));
        match self.writable(map)? {
            Map::Response => {
                if let Some(http) = self.http() {
                    http.response = headers;
                }
                Ok(status::OK)
            }
            Map::Request if !self.on_kong() => {
                if let Some(http) = self.http() {
                    http.wire.clone_from(&headers);
                    http.seen = headers;
                }
                Ok(status::OK)
            }
            Map::Request => Err(self.forbid(Rule::ReliesOnRemoval, "replaced all request headers")),
            Map::Trailers => Err(self.forbid(Rule::Unmeasured, "replaced all trailers")),
            Map::Call => {
                Err(self.forbid(Rule::Unmeasured, "changed the headers of a call's answer"))
            }
        }
    }

    fn map(&mut self, map: Map) -> Headers {
        let headers = match map {
            Map::Request => self.http().map(|http| http.seen.clone()),
            Map::Trailers => self.http().map(|http| http.trailers.clone()),
            Map::Response => self.http().map(|http| http.response.clone()),
            Map::Call => self
                .frame
                .as_ref()
                .and_then(|frame| frame.delivery.as_ref().map(|delivery| delivery.headers.clone())),
        };
        headers.unwrap_or_default()
    }

    fn readable(&mut self, map: u32) -> Result<Map, Stop> {
        let map = self.known(map)?;
        let phase = self.phase();
        let allowed = match map {
            Map::Request => !self.in_root(),
            Map::Trailers => phase == Some(Phase::RequestTrailers),
            Map::Response => self.http().is_some_and(|http| http.response_began),
            Map::Call => phase == Some(Phase::CallResponse),
        };
        if allowed {
            return Ok(map);
        }
        Err(self.forbid(Rule::WrongPhase, format!("read the headers of the {map:?}")))
    }

    fn writable(&mut self, map: u32) -> Result<Map, Stop> {
        let map = self.known(map)?;
        if self.in_root() {
            return Err(self.forbid(
                Rule::WrongPhase,
                format!("changed the headers of the {map:?} in a root context"),
            ));
        }
        let began = self.http().is_some_and(|http| http.response_began || http.answer.is_some());
        match (map, self.phase()) {
            (Map::Trailers, phase) if phase != Some(Phase::RequestTrailers) => {
                Err(self.forbid(Rule::WrongPhase, "changed a trailer"))
            }
            (Map::Request, _) if began => {
                Err(self.forbid(Rule::RequestHeadersTooLate, "changed a request header"))
            }
            (Map::Response, Some(Phase::ResponseHeaders))
            | (Map::Request | Map::Trailers | Map::Call, _) => Ok(map),
            (Map::Response, _) if began => {
                Err(self.forbid(Rule::ResponseHeadersTooLate, "changed a response header"))
            }
            (Map::Response, _) => Err(self
                .forbid(Rule::Unmeasured, "changed a response header before there was a response")),
        }
    }

    fn known(&mut self, map: u32) -> Result<Map, Stop> {
        match map {
            0 => Ok(Map::Request),
            1 => Ok(Map::Trailers),
            2 => Ok(Map::Response),
            6 => Ok(Map::Call),
            other => Err(self.forbid(
                Rule::Unmeasured,
                format!("used the header map {other} (an answer's trailers, gRPC)"),
            )),
        }
    }
}
