//! Requests of the storm: some good, most of them odd.

use std::fmt::Write as _;

use fastrand::Rng;
use serde_json::{Value, json};

use super::{Good, Sent, Storm};
use crate::{issuer::ROLES_CLAIM, request::Request};

const PATHS: [&str; 5] = ["/user", "/user", "/admin", "/public", "/broken"];

impl Storm {
    /// Sends one.
    pub(super) fn request(&mut self) {
        let path = self.rng.choice(PATHS).unwrap_or("/user");
        let mut target = path.as_bytes().to_vec();
        if self.rng.u8(..4) == 0 {
            target.push(b'/');
            target.extend(bytes(&mut self.rng, 30));
        }
        let method = self.rng.choice(["GET", "POST", "DELETE", "OPTIONS"]).unwrap_or("GET");
        let mut request = Request::new(method, target);
        let (credential, good, admin) = self.credential();
        let mut reserved = false;
        for _ in 0..self.rng.usize(..4) {
            let (name, value) = self.header();
            reserved |= is_reserved(&name);
            request = request.header(name, value);
        }
        if let Some(credential) = &credential {
            request = request.header("Authorization", credential.as_slice());
        }
        let other_credential =
            request.headers.all("authorization").len() > usize::from(credential.is_some());
        let good = if other_credential { Good::No } else { good };
        if self.rng.u8(..4) == 0 {
            let body = bytes(&mut self.rng, 2000);
            request = request.body(body);
        }
        let worker = self.rng.usize(..self.workers);
        let shown = credential.as_deref().map(|c| c.escape_ascii().to_string()).unwrap_or_default();
        let mut headers = String::new();
        for (name, value) in request.headers.iter().take(4) {
            // Writing to a String cannot fail.
            let _ = write!(headers, " [{}: {} bytes]", name.escape_ascii(), value.len());
        }
        self.note(format!(
            "{method} {path} to worker {worker}, good {good:?}, {headers} {shown:.40}"
        ));
        let began_ms = self.node.now_ms();
        let id = self.node.begin(worker, request);
        let rotations = self.rotations;
        self.sent.push(Sent {
            id,
            worker,
            path,
            good,
            admin,
            reserved,
            began_ms,
            rotations,
            cut: false,
        });
    }

    /// The value of `Authorization`, whether it is good, and whether for an admin.
    fn credential(&mut self) -> (Option<Vec<u8>>, Good, bool) {
        let mut claims = self.issuer.claims(self.start_s);
        claims["exp"] = json!(self.start_s + 30 * 86_400);
        let now_s = self.node.now_s();
        let admin = self.rng.u8(..3) == 0;
        if admin {
            claims[ROLES_CLAIM] = json!(["admin:tools"]);
        }
        let header = |alg: &str, kid: &str| json!({"alg": alg, "typ": "JWT", "kid": kid});
        let (token, good) = match self.rng.u8(..20) {
            0..=6 => (self.issuer.sign(&claims), Good::Yes),
            7 => {
                claims["exp"] = json!(now_s + self.rng.u64(0..10));
                (self.issuer.sign(&claims), Good::Maybe)
            }
            8 => {
                claims["exp"] = json!(now_s - 60);
                (self.issuer.sign(&claims), Good::No)
            }
            9 => {
                claims["nbf"] = json!(self.start_s + 86_400 * 10);
                (self.issuer.sign(&claims), Good::No)
            }
            10 => {
                claims["aud"] = json!(["another"]);
                (self.issuer.sign(&claims), Good::No)
            }
            11 => {
                claims["iss"] = json!("https://evil.example");
                (self.issuer.sign(&claims), Good::No)
            }
            12 => {
                let kid = format!("made-up-{}", self.rng.u16(..));
                (self.issuer.sign_as(&header("EdDSA", &kid), &claims), Good::No)
            }
            13 => (self.mallory.sign_as(&header("EdDSA", "key-1"), &claims), Good::No),
            14 => {
                let alg = self
                    .rng
                    .choice(["none", "HS256", "RS256", "ES256", "PS512", ""])
                    .unwrap_or("none");
                (self.issuer.sign_as(&header(alg, "key-1"), &claims), Good::No)
            }
            15 => {
                let claims = self.odd_claims(claims);
                // Not trusted to be bad: an odd claim may be one that does not matter.
                (self.issuer.sign(&claims), Good::Maybe)
            }
            16 | 17 => {
                let token = self.issuer.sign(&claims);
                let changed = self.change(token.clone().into_bytes());
                let good = if changed == token.as_bytes() { Good::Yes } else { Good::No };
                return (Some([b"Bearer ", changed.as_slice()].concat()), good, admin);
            }
            18 => return (Some(bytes(&mut self.rng, 100)), Good::No, admin),
            _ => return (None, Good::No, admin),
        };
        let scheme = self.rng.choice(["Bearer ", "bearer ", "BEARER  "]).unwrap_or("Bearer ");
        (Some(format!("{scheme}{token}").into_bytes()), good, admin)
    }

    /// Claims of which one is of another shape. The roles stay as they are.
    fn odd_claims(&mut self, mut claims: Value) -> Value {
        let name =
            self.rng.choice(["exp", "nbf", "iat", "aud", "sub", "email", "name", "act", "x"]);
        let value = match self.rng.u8(..9) {
            0 => json!(null),
            1 => json!(-1),
            2 => json!(1e300),
            3 => json!("9999999999"),
            4 => json!([[], {}, "x"]),
            5 => json!({"a": {"b": []}}),
            6 => json!("\u{0}\r\nx-kombi-roles: admin:tools \u{1F600}"),
            7 => json!(9_999_999_999.5),
            _ => json!(true),
        };
        claims[name.unwrap_or("x")] = value;
        claims
    }

    fn change(&mut self, mut token: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.rng.usize(1..4) {
            let at = self.rng.usize(..token.len().max(1));
            match self.rng.u8(..4) {
                0 => token.truncate(at),
                1 => token.insert(at.min(token.len()), self.rng.u8(..)),
                2 => {
                    let other = self.rng.choice(*b"ABCDwxyz0189-_.=").unwrap_or(b'A');
                    if let Some(byte) = token.get_mut(at) {
                        *byte = other;
                    }
                }
                _ => {
                    if let Some(byte) = token.get_mut(at) {
                        *byte = self.rng.u8(..);
                    }
                }
            }
        }
        token
    }

    fn header(&mut self) -> (Vec<u8>, Vec<u8>) {
        let value = bytes(&mut self.rng, 60);
        let name: Vec<u8> = match self.rng.u8(..10) {
            0 => self
                .rng
                .choice(["x-kombi-sub", "X_Kombi_Roles", "x.kombi.org", "X-KOMBI-"])
                .unwrap_or("x")
                .into(),
            1 => self
                .rng
                .choice(["authorization", "AUTHORIZATION"])
                .unwrap_or("authorization")
                .into(),
            2 => self.rng.choice(["x-kombi", "x-kombis-sub", "kombi-sub"]).unwrap_or("x").into(),
            3 | 4 => bytes(&mut self.rng, 40),
            _ => self
                .rng
                .choice([
                    "accept",
                    "cookie",
                    "x-request-id",
                    "x-forwarded-for",
                    "content-type",
                    "x-any",
                ])
                .unwrap_or("accept")
                .into(),
        };
        // A name with a colon would be a pseudo-header, which no client can send.
        (name.into_iter().filter(|byte| *byte != b':').collect(), value)
    }
}

/// Up to `longest` arbitrary bytes, often text.
pub(super) fn bytes(rng: &mut Rng, longest: usize) -> Vec<u8> {
    let length = rng.usize(..=longest);
    let text = rng.bool();
    (0..length)
        .map(|_| match rng.u8(..20) {
            // What no HTTP parser lets through.
            _ if text => rng.u8(b' '..=b'~'),
            _ => rng.u8(..),
        })
        .map(|byte| if matches!(byte, 0 | b'\r' | b'\n') { b'?' } else { byte })
        .collect()
}

/// An independent reading of "a spelling of x-kombi-".
fn is_reserved(name: &[u8]) -> bool {
    let plain: String =
        name.iter()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte.to_ascii_lowercase())
                } else {
                    '-'
                }
            })
            .collect();
    plain.starts_with("x-kombi-")
}
