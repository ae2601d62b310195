//! Whose budget it is.

use kombi_gate_crypto::sha256;

use super::address::Source;
use crate::identity::Identity;

/// What a rule tells callers apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The user: `sub`.
    Subject,
    /// The organisation that owns the user.
    Organisation,
    /// The application that asked for the token: `client_id`, or else `azp`.
    Client,
    /// Where the request comes from.
    Source,
}

/// Who calls, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller<'a> {
    /// From a verified token.
    pub identity: Option<&'a Identity>,
    /// From the host.
    pub source: Option<Source>,
}

/// Longest key that is kept as it is, in bytes; a longer one is kept as its SHA-256.
const LONGEST: usize = 128;

/// The name of one budget: it tells it from every other one of the same rule, whatever callers
/// can choose of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    bytes: Box<[u8]>,
    hash: u64,
}

impl Key {
    /// The key of `caller` by `parts`. A part that the caller's token does not tell is replaced by
    /// the user; without a token all of them are replaced by the source. `None` if there is nothing
    /// to go by.
    #[must_use]
    pub fn of(parts: &[Part], caller: &Caller<'_>) -> Option<Self> {
        let mut bytes = Vec::with_capacity(64);
        match caller.identity {
            None => push_source(&mut bytes, caller.source?),
            Some(identity) => {
                // An id says something only together with its issuer.
                if parts.iter().any(|part| *part != Part::Source) {
                    push(&mut bytes, b'i', identity.issuer.as_bytes());
                }
                let mut by_subject = parts.contains(&Part::Subject);
                for part in parts {
                    match part {
                        Part::Subject => {}
                        Part::Organisation => match &identity.organisation {
                            Some(id) => push(&mut bytes, b'o', id.as_bytes()),
                            None => by_subject = true,
                        },
                        Part::Client => match &identity.client {
                            Some(id) => push(&mut bytes, b'c', id.as_bytes()),
                            None => by_subject = true,
                        },
                        Part::Source => push_source(&mut bytes, caller.source?),
                    }
                }
                if by_subject {
                    push(&mut bytes, b's', identity.subject.as_bytes());
                }
            }
        }
        Some(Self::from_bytes(bytes))
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        let bytes = if bytes.len() <= LONGEST {
            bytes
        } else {
            let mut digest = vec![b'#'];
            digest.extend(sha256(&bytes));
            digest
        };
        let hash = hash(&bytes);
        Self { bytes: bytes.into(), hash }
    }

    /// The whole key.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Decides where its budgets lie.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }
}

fn push_source(bytes: &mut Vec<u8>, source: Source) {
    source.with_bytes(|address| push(bytes, b'a', address));
}

/// The length goes before the text, so that no two keys read the same.
fn push(bytes: &mut Vec<u8>, kind: u8, text: &[u8]) {
    bytes.push(kind);
    bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(text);
}

/// Spreads keys. It need not resist anybody: whole keys are compared.
fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let rest = rest.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    let words = words.iter().map(|word| u64::from_le_bytes(*word)).chain([rest]);
    let hash = words.fold(u64::try_from(bytes.len()).unwrap_or_default(), |hash, word| {
        (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
    });
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(subject: &str) -> Identity {
        Identity {
            issuer: "https://id.example".to_owned(),
            subject: subject.to_owned(),
            organisation: Some("1".to_owned()),
            client: Some("app".to_owned()),
            ..Identity::default()
        }
    }

    fn key(parts: &[Part], identity: Option<&Identity>, source: &str) -> Option<Key> {
        Key::of(parts, &Caller { identity, source: Source::read(source.as_bytes()) })
    }

    #[test]
    fn callers_are_told_apart_by_the_parts_of_the_rule_only() {
        let (ada, bob) = (identity("ada"), identity("bob"));
        for (parts, same) in [
            (&[Part::Subject][..], false),
            (&[Part::Organisation], true),
            (&[Part::Client], true),
            (&[Part::Source], true),
            (&[Part::Organisation, Part::Client, Part::Source], true),
            (&[Part::Subject, Part::Organisation], false),
        ] {
            let found = key(parts, Some(&ada), "192.0.2.7") == key(parts, Some(&bob), "192.0.2.7");
            assert_eq!(found, same, "{parts:?}");
        }
        let parts = [Part::Subject, Part::Source];
        assert_ne!(key(&parts, Some(&ada), "192.0.2.7"), key(&parts, Some(&ada), "192.0.2.8"));
    }

    #[test]
    fn the_same_id_of_another_issuer_is_somebody_else() {
        let here = identity("ada");
        let there = Identity { issuer: "https://id2.example".to_owned(), ..identity("ada") };
        for part in [Part::Subject, Part::Organisation, Part::Client] {
            assert_ne!(key(&[part], Some(&here), ""), key(&[part], Some(&there), ""), "{part:?}");
        }
    }

    #[test]
    fn what_a_token_does_not_tell_is_replaced_by_the_user() {
        let lone = Identity { organisation: None, client: None, ..identity("ada") };
        let user = key(&[Part::Subject], Some(&lone), "");
        assert_eq!(key(&[Part::Organisation], Some(&lone), ""), user);
        assert_eq!(key(&[Part::Organisation, Part::Client], Some(&lone), ""), user);
        assert_ne!(key(&[Part::Organisation], Some(&identity("ada")), ""), user);
    }

    #[test]
    fn without_a_token_the_source_counts() {
        let source = key(&[Part::Source], None, "192.0.2.7");
        assert!(source.is_some());
        for part in [Part::Subject, Part::Organisation, Part::Client] {
            assert_eq!(key(&[part], None, "192.0.2.7:1"), source, "{part:?}");
            assert_eq!(key(&[part], None, ""), None);
        }
        assert_eq!(key(&[Part::Subject, Part::Source], Some(&identity("ada")), ""), None);
    }

    #[test]
    fn no_text_reads_as_another_key() {
        let parts = [Part::Subject, Part::Organisation];
        let forged = Identity { organisation: Some("1s\u{3}\0\0\0ada".to_owned()), ..identity("") };
        assert_ne!(key(&parts, Some(&forged), ""), key(&parts, Some(&identity("ada")), ""));
        let v4 = key(&[Part::Source], None, "32.1.13.184").unwrap();
        let v6 = key(&[Part::Source], None, "2001:db8::1").unwrap();
        assert_ne!(v4, v6);
    }

    #[test]
    fn a_long_id_makes_no_long_key() {
        let long = "a".repeat(10_000);
        let one = key(&[Part::Subject], Some(&identity(&long)), "").unwrap();
        let other = key(&[Part::Subject], Some(&identity(&format!("{long}b"))), "").unwrap();
        assert_eq!(one.bytes().len(), 33);
        assert_ne!(one, other);
    }
}
