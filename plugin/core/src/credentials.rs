//! The bearer token of a request (RFC 6750 section 2.1), and no other credential.

use kombi_spec::code::Code;

use crate::{
    refusal::Refusal,
    request::{Authorization, Head},
};

/// A bearer token, told apart by its looks. Only a JWT can be verified here; what an opaque token
/// means, its issuer alone can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer<'a> {
    /// Something in parts, as every JWT is.
    Jwt(&'a str),
    /// Something in one piece, such as Zitadel's personal access tokens.
    Opaque(&'a str),
}

impl<'a> Bearer<'a> {
    fn new(token: &'a str) -> Self {
        if token.contains('.') { Self::Jwt(token) } else { Self::Opaque(token) }
    }

    /// The JWT; where opaque tokens are not allowed, they are refused.
    pub fn jwt(self) -> Result<&'a str, Refusal> {
        match self {
            Self::Jwt(token) => Ok(token),
            Self::Opaque(_) => Err(Refusal::new(
                Code::TokenMalformed,
                "the token is opaque, and here it must be a JWT; in Zitadel the application's \
                 access token type decides, and personal access tokens are always opaque",
            )),
        }
    }
}

/// What `head` presents as a bearer token, whatever it looks like. Query parameters and cookies are
/// not looked at.
pub fn presented(head: &Head) -> Result<Presented<'_>, Refusal> {
    let value = match head.authorization() {
        Authorization::One(value) => value,
        Authorization::Missing => {
            return Err(Refusal::new(Code::TokenMissing, "no Authorization header was sent"));
        }
        Authorization::Several => {
            return Err(malformed("more than one Authorization header was sent"));
        }
    };
    let Some(space) = value.iter().position(|byte| *byte == b' ') else {
        return Err(malformed("the Authorization header has no scheme or no token"));
    };
    let (scheme, token) = value.split_at_checked(space).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Refusal::new(
            Code::TokenMissing,
            "the Authorization header uses a scheme other than Bearer",
        ));
    }
    let start = token.iter().position(|byte| *byte != b' ').unwrap_or(token.len());
    Ok(Presented(token.get(start..).unwrap_or_default()))
}

/// What was presented as a bearer token. Nothing is known of it, so only these very bytes can be
/// recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented<'a>(&'a [u8]);

impl<'a> Presented<'a> {
    /// The bytes.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The bearer token, of at most `max_bytes` bytes.
    pub fn bearer(self, max_bytes: usize) -> Result<Bearer<'a>, Refusal> {
        if self.0.len() > max_bytes {
            return Err(malformed(format!("the token is longer than {max_bytes} bytes")));
        }
        if self.0.starts_with(b"{") {
            return Err(Refusal::new(
                Code::TokenMalformed,
                "the token is in JSON serialization, and only the compact one is read",
            ));
        }
        let token = str::from_utf8(self.0).ok().filter(|token| token.bytes().all(is_token68));
        match token {
            None | Some("") => Err(malformed("the Authorization header is not one bearer token")),
            Some(token) => Ok(Bearer::new(token)),
        }
    }
}

/// The characters of a bearer token: `token68` of RFC 9110 section 11.2.
const fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::CredentialsMalformed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Fields;

    fn head(values: &[&[u8]]) -> Head {
        let fields: Vec<_> = values.iter().map(|value| ("Authorization", value)).collect();
        Head::read(Fields::new(&fields), Some("r".to_owned())).unwrap()
    }

    const MAX_BYTES: usize = 1024;

    fn bearer(head: &Head, max_bytes: usize) -> Result<Bearer<'_>, Refusal> {
        presented(head)?.bearer(max_bytes)
    }

    #[test]
    fn one_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        for value in ["Bearer a.b-c_d~e+f/g=", "bearer a.b-c_d~e+f/g=", "BEARER   a.b-c_d~e+f/g="] {
            let head = head(&[value.as_bytes()]);
            assert_eq!(bearer(&head, MAX_BYTES).unwrap(), Bearer::Jwt("a.b-c_d~e+f/g="));
        }
    }

    #[test]
    fn a_token_in_one_piece_is_opaque_and_no_jwt() {
        let head = head(&[b"Bearer dGhlX3Rva2Vu"]);
        let token = bearer(&head, MAX_BYTES).unwrap();
        assert_eq!(token, Bearer::Opaque("dGhlX3Rva2Vu"));
        let refusal = token.jwt().unwrap_err();
        assert_eq!(refusal.code, Code::TokenMalformed);
        assert!(refusal.detail.contains("access token type"), "{}", refusal.detail);
    }

    #[test]
    fn a_token_may_be_as_long_as_configured() {
        let longest = format!("Bearer {}.", "a".repeat(MAX_BYTES - 1));
        assert!(bearer(&head(&[longest.as_bytes()]), MAX_BYTES).is_ok());
        let longer = format!("{longest}a");
        let refusal = bearer(&head(&[longer.as_bytes()]), MAX_BYTES).unwrap_err();
        assert!(refusal.detail.contains("1024 bytes"), "{}", refusal.detail);
    }

    #[test]
    fn anything_else_is_refused() {
        let cases: &[(&[&[u8]], Code)] = &[
            (&[], Code::TokenMissing),
            (&[b"Basic dTpw"], Code::TokenMissing),
            (&[b"DPoP a.b.c"], Code::TokenMissing),
            (&[b""], Code::CredentialsMalformed),
            (&[b"Bearer"], Code::CredentialsMalformed),
            (&[b"Bearer "], Code::CredentialsMalformed),
            (&[b"Bearer\ta"], Code::CredentialsMalformed),
            (&[b" Bearer a"], Code::TokenMissing),
            (&[b"Bearer a b"], Code::CredentialsMalformed),
            (&[b"Bearer a\t"], Code::CredentialsMalformed),
            (&[b"Bearer a, Basic dTpw"], Code::CredentialsMalformed),
            (&[b"Bearer a,Bearer b"], Code::CredentialsMalformed),
            (&[b"Basic dTpw, Bearer a"], Code::TokenMissing),
            (&[b"Bearer \xff"], Code::CredentialsMalformed),
            (&[b"Bearer a", b"Bearer a"], Code::CredentialsMalformed),
            (&[b"Bearer a", b"Basic dTpw"], Code::CredentialsMalformed),
            (&[br#"Bearer {"payload":"e30"}"#], Code::TokenMalformed),
        ];
        for (values, code) in cases {
            assert_eq!(bearer(&head(values), MAX_BYTES).unwrap_err().code, *code, "{values:?}");
        }
    }

    #[test]
    fn no_other_header_is_a_credential() {
        let names = ["cookie", "proxy-authorization", "x-authorization", "authorization2"];
        let mut fields = names.map(|name| (name, "Bearer a.b.c")).to_vec();
        fields.push((":path", "/?access_token=a.b.c"));
        let head = Head::read(Fields::new(&fields), Some("r".to_owned())).unwrap();
        assert_eq!(bearer(&head, MAX_BYTES).unwrap_err().code, Code::TokenMissing);
    }
}
