//! An opaque token, and what stands for it in memory.

use kombi_spec::introspection::MAX_TOKEN_BYTES;
use ring::digest::{SHA256, digest};

/// An opaque token. Nothing prints it and nothing keeps it.
pub(super) struct Token(String);

/// The SHA-256 of a token: what it is remembered by. Two tokens never share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

impl Token {
    /// Reads a `b64token` (RFC 6750 section 2.1) of bounded length.
    pub(super) fn parse(text: String) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        let body = text.trim_end_matches('=');
        let fit = !body.is_empty() && text.len() <= MAX_TOKEN_BYTES && body.bytes().all(fits);
        fit.then_some(Self(text))
    }

    /// The token as the issuer must see it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        Fingerprint(bytes)
    }
}

#[cfg(test)]
impl Fingerprint {
    pub(super) fn of(number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_b64token() {
        for (text, fits) in [
            ("pat-1.2_3~4+5/6==", true),
            (&*"a".repeat(MAX_TOKEN_BYTES), true),
            (&*"a".repeat(MAX_TOKEN_BYTES + 1), false),
            ("", false),
            ("==", false),
            ("a=b", false),
            ("a b", false),
            ("a\n", false),
            ("é", false),
        ] {
            assert_eq!(Token::parse(text.to_owned()).is_some(), fits, "{text}");
        }
    }

    /// The second value is that of FIPS 180-2, appendix B.1.
    #[test]
    fn a_fingerprint_is_the_sha256() {
        let Fingerprint(bytes) = Token::parse("abc".to_owned()).unwrap().fingerprint();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
