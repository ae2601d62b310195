//! Header names that belong to the gate.
//!
//! A header cannot be removed from a request on Kong, so a client's copy of a reserved name
//! would reach the upstream beside ours. Hence such a request is refused, in every spelling that
//! some backend might read as the same name: CGI-style servers fold case and turn separators
//! into `_`.

use kombi_spec::{code::Code, header::RESERVED_PREFIX};

use crate::{refusal::Refusal, request::Head};

/// Refuses a request that carries a reserved header.
pub fn refuse_reserved(head: &Head) -> Result<(), Refusal> {
    match head.reserved() {
        None => Ok(()),
        Some(name) => Err(Refusal::new(
            Code::HeaderReserved,
            format!("the header \"{}\" may only be set by the gateway", name.escape_ascii()),
        )),
    }
}

/// Whether `name` is a spelling of a name that starts with [`RESERVED_PREFIX`].
#[must_use]
pub fn is_reserved(name: &[u8]) -> bool {
    name.len() >= RESERVED_PREFIX.len()
        && RESERVED_PREFIX.bytes().zip(name).all(|(reserved, &found)| {
            if reserved == b'-' {
                !found.is_ascii_alphanumeric()
            } else {
                found.eq_ignore_ascii_case(&reserved)
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_reserved_name_is_refused() {
        for name in [
            "x-kombi-sub",
            "X-Kombi-Sub",
            "X_Kombi_Sub",
            "x-kombi_sub",
            "X.KOMBI.ANYTHING",
            "x kombi-",
            "x-kombi-",
        ] {
            assert!(is_reserved(name.as_bytes()), "{name}");
        }
        assert!(is_reserved(b"x\xffkombi\x80sub"));
    }

    #[test]
    fn other_names_pass() {
        for name in ["", "x-kombi", "x-kombis-sub", "kombi-sub", "xx-kombi-sub", "authorization"] {
            assert!(!is_reserved(name.as_bytes()), "{name}");
        }
    }
}
