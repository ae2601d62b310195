//! One-time codes: given out, redeemed once, and remembered for a while.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kombi_spec::{assertion::GrantedBy, handoff::LIFETIME_S};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::form::Redemption;
use crate::{
    audit::{Act, Action, Audit},
    blocked,
    connector::Person,
    instance::{InstanceId, Subject},
    random::{self, NoRandomness},
    revocations,
    store::{Connection, Store, StoreError, params},
    time::UnixTime,
};

/// How long a code is remembered once nobody can redeem it any more.
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many codes of one person for one instance may be waiting to be redeemed. Older ones are
/// forgotten.
const WAITING: i64 = 16;

/// Why sessions end.
const REDEEMED_TWICE: &str = "code redeemed twice";

/// A code: 256 bits. It has no `Debug`.
#[derive(Clone)]
pub struct OneTimeCode([u8; 32]);

impl OneTimeCode {
    /// A new one.
    pub fn random() -> Result<Self, NoRandomness> {
        Ok(Self(random::bytes()?))
    }

    /// Reads one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        bytes_of(text).map(Self)
    }

    /// As it is handed over.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// As it is kept.
    fn hash(&self) -> Vec<u8> {
        digest(&SHA256, &self.0).as_ref().to_vec()
    }
}

/// A challenge (RFC 7636 section 4.2): the SHA-256 of a verifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge(String);

impl Challenge {
    /// Reads one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        bytes_of(text).map(|_| Self(text.to_owned()))
    }
}

/// A verifier (RFC 7636 section 4.1). It has no `Debug`.
pub struct Verifier(String);

impl Verifier {
    /// Reads one: 43 to 128 unreserved characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let fits = (43..=128).contains(&text.len()) && text.bytes().all(unreserved);
        fits.then(|| Self(text.to_owned()))
    }

    fn challenge(&self) -> Challenge {
        Challenge(URL_SAFE_NO_PAD.encode(digest(&SHA256, self.0.as_bytes())))
    }
}

fn bytes_of(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// What a code is good for.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The instance.
    pub instance: InstanceId,
    /// The person.
    pub person: Person,
    /// The page that redeems it.
    pub redirect_uri: String,
    /// What the page can answer.
    pub challenge: Challenge,
}

/// What redeeming a code came to.
#[derive(Debug)]
pub enum Redeemed {
    /// It was good, and is spent.
    Granted(Grant),
    /// It was not; why, for the log alone.
    Refused(&'static str),
    /// It has opened a session before, which is to end now.
    Again {
        /// Where.
        instance: InstanceId,
        /// Whose.
        subject: Subject,
    },
}

/// What is kept of a person besides their id.
#[derive(Serialize, Deserialize)]
struct Profile {
    email: Option<String>,
    email_verified: bool,
    name: Option<String>,
    #[serde(default)]
    granted_by: GrantedBy,
}

/// Keeps `code`, which is good for `grant` from now on and was got by `act`.
pub async fn issue(
    store: &Store,
    audit: &Audit,
    code: &OneTimeCode,
    grant: Grant,
    act: &Act,
) -> Result<(), StoreError> {
    let (hash, audit, now) = (code.hash(), audit.clone(), UnixTime::now());
    let issued = act.did(Action::CodeIssue).at(&grant.instance).on(grant.person.subject.as_str());
    let Grant { instance, person, redirect_uri, challenge } = grant;
    let Person { subject, email, email_verified, name, granted_by } = person;
    let profile = Profile { email, email_verified, name, granted_by };
    // A struct of strings always serialises.
    let profile = serde_json::to_string(&profile).unwrap_or_default();
    let expires_at = now.plus(Duration::from_secs(LIFETIME_S));
    let keep_until = expires_at.plus(MEMORY);
    store
        .write(move |connection| {
            connection.execute(
                "INSERT INTO handoff_codes (hash, instance_id, sub, person, redirect_uri,
                     challenge, expires_at, keep_until, state, replayed, turn)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'issued', FALSE, (
                     SELECT coalesce(max(turn), 0) + 1 FROM handoff_codes
                     WHERE sub = ?3 AND instance_id = ?2 AND state = 'issued'))",
                params![
                    hash,
                    instance.as_str(),
                    subject.as_str(),
                    profile,
                    redirect_uri,
                    challenge.0,
                    expires_at.as_sql(),
                    keep_until.as_sql(),
                ],
            )?;
            connection.execute(
                "DELETE FROM handoff_codes WHERE hash IN (
                     SELECT hash FROM handoff_codes
                     WHERE sub = ?1 AND instance_id = ?2 AND state = 'issued'
                     ORDER BY turn DESC LIMIT ?3 OFFSET ?3)",
                params![subject.as_str(), instance.as_str(), WAITING],
            )?;
            audit.record(connection, &issued, now)
        })
        .await
}

/// Redeems a code: whatever comes of it, it is spent.
pub async fn redeem(
    store: &Store,
    redemption: Redemption,
    now: UnixTime,
) -> Result<Redeemed, StoreError> {
    store.write(move |connection| redeem_in(connection, &redemption, now)).await
}

fn redeem_in(
    connection: &Connection,
    redemption: &Redemption,
    now: UnixTime,
) -> Result<Redeemed, StoreError> {
    let hash = redemption.code.hash();
    let select = "SELECT instance_id, sub, person, redirect_uri, challenge, expires_at, state
                  FROM handoff_codes WHERE hash = ?1";
    let row = connection.query_optional(select, params![hash], |row| {
        Ok((
            (row.get::<String>(0)?, row.get::<String>(1)?, row.get::<String>(2)?),
            (row.get::<String>(3)?, row.get::<String>(4)?),
            (row.get::<i64>(5)?, row.get::<String>(6)?),
        ))
    })?;
    let Some(((instance, subject, person), (redirect_uri, challenge), (expires_at, state))) = row
    else {
        return Ok(Redeemed::Refused("not known"));
    };
    // What was written is what was parsed before.
    let (Ok(instance), Ok(subject)) = (InstanceId::parse(&instance), Subject::parse(&subject))
    else {
        return Ok(Redeemed::Refused("not readable"));
    };
    if state != "issued" {
        let again = "UPDATE handoff_codes SET replayed = TRUE WHERE hash = ?1";
        connection.execute(again, params![hash])?;
        if state != "entered" {
            return Ok(Redeemed::Refused("redeemed before, without a session (yet)"));
        }
        revocations::ask(connection, &instance, &subject, REDEEMED_TWICE, now)?;
        return Ok(Redeemed::Again { instance, subject });
    }
    let spend = "UPDATE handoff_codes SET state = 'spent', person = '' WHERE hash = ?1";
    connection.execute(spend, params![hash])?;
    if expires_at <= now.as_sql() {
        return Ok(Redeemed::Refused("expired"));
    }
    if blocked::is_blocked(connection, subject.as_str())? {
        return Ok(Redeemed::Refused("for somebody who is blocked"));
    }
    if redirect_uri != redemption.redirect_uri {
        return Ok(Redeemed::Refused("for another page"));
    }
    if redemption.verifier.challenge().0 != challenge {
        return Ok(Redeemed::Refused("with another verifier"));
    }
    let Ok(profile) = serde_json::from_str(&person) else {
        return Ok(Redeemed::Refused("not readable"));
    };
    let Profile { email, email_verified, name, granted_by } = profile;
    let person = Person { subject, email, email_verified, name, granted_by };
    Ok(Redeemed::Granted(Grant { instance, person, redirect_uri, challenge: Challenge(challenge) }))
}

/// Remembers that `code` has opened a session; whether somebody has tried to redeem it again
/// meanwhile, and the session is to end.
pub async fn entered(store: &Store, code: &OneTimeCode, now: UnixTime) -> Result<bool, StoreError> {
    let hash = code.hash();
    store
        .write(move |connection| {
            let enter = "UPDATE handoff_codes SET state = 'entered' WHERE hash = ?1
                         RETURNING instance_id, sub, replayed";
            let row = connection.query_optional(enter, params![hash], |row| {
                Ok((row.get::<String>(0)?, row.get::<String>(1)?, row.get(2)?))
            })?;
            let Some((instance, subject, true)) = row else { return Ok(false) };
            let (Ok(instance), Ok(subject)) =
                (InstanceId::parse(&instance), Subject::parse(&subject))
            else {
                return Ok(false);
            };
            revocations::ask(connection, &instance, &subject, REDEEMED_TWICE, now)?;
            Ok(true)
        })
        .await
}

/// Forgets codes that are too old to matter.
pub async fn forget(store: &Store, now: UnixTime) -> Result<(), StoreError> {
    let now = now.as_sql();
    store
        .write(move |connection| {
            connection.execute("DELETE FROM handoff_codes WHERE keep_until < ?1", params![now])?;
            // What nobody has redeemed in time cannot be redeemed twice.
            let unused = "DELETE FROM handoff_codes WHERE state = 'issued' AND expires_at < ?1";
            connection.execute(unused, params![now])?;
            Ok(())
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 appendix B.
    #[test]
    fn a_verifier_has_the_challenge_of_the_rfc() {
        let verifier = Verifier::parse("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
        let challenge = Challenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap();
        assert_eq!(verifier.challenge(), challenge);
    }

    #[test]
    fn a_verifier_is_43_to_128_unreserved_characters() {
        for good in ["a".repeat(43), "~".repeat(128)] {
            assert!(Verifier::parse(&good).is_some(), "{good}");
        }
        for bad in ["a".repeat(42), "a".repeat(129), "ä".repeat(43), " ".repeat(43)] {
            assert!(Verifier::parse(&bad).is_none(), "{bad}");
        }
    }
}
