//! The issuer that tells of logouts, if there is one.

use super::ConfigError;
use crate::{address::Reach, command::serve::ServeArgs, logout::LogoutIssuer};

/// The issuer.
pub const ISSUER: &str = "KOMBI_EXCHANGE_LOGOUT_ISSUER";
/// Its clients whose logouts count.
pub const AUDIENCES: &str = "KOMBI_EXCHANGE_LOGOUT_AUDIENCES";
/// Whether the issuer may be in a private network.
pub const ALLOW_PRIVATE: &str = "KOMBI_EXCHANGE_LOGOUT_ALLOW_PRIVATE";

/// The issuer in `args`.
pub(super) fn issuer(args: &ServeArgs) -> Result<Option<LogoutIssuer>, ConfigError> {
    read(
        args.logout_issuer.as_deref().unwrap_or_default(),
        args.logout_audiences.as_deref().unwrap_or_default(),
        &args.logout_allow_private,
    )
}

fn read(
    issuer: &str,
    audiences: &str,
    allow_private: &str,
) -> Result<Option<LogoutIssuer>, ConfigError> {
    let wrong = |variable, expected, found: String| Err(ConfigError { variable, expected, found });
    let reach = match allow_private {
        "true" => Reach::Private,
        "false" | "" => Reach::Public,
        other => return wrong(ALLOW_PRIVATE, "true or false", format!("{other:?}")),
    };
    let audiences: Vec<&str> =
        audiences.split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
    let nothing = || "nothing".to_owned();
    match (issuer.is_empty(), audiences.is_empty()) {
        (true, true) => Ok(None),
        (true, false) => wrong(ISSUER, "an issuer, because its clients are set", nothing()),
        (false, true) => wrong(AUDIENCES, "the issuer's clients whose logouts count", nothing()),
        (false, false) => match LogoutIssuer::new(issuer, reach, audiences) {
            Ok(issuer) => Ok(Some(issuer)),
            Err(unfit) => {
                let expected = "an https URL without user, query and fragment at a public address \
                                (http and private addresses need \
                                KOMBI_EXCHANGE_LOGOUT_ALLOW_PRIVATE=true)";
                wrong(ISSUER, expected, unfit.to_string())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_set_with_its_clients_or_not_at_all() {
        assert!(read("", "", "").unwrap().is_none());
        assert!(read("https://id.example", "portal, 27", "false").unwrap().is_some());
        assert!(read("http://127.0.0.1:1", "portal", "true").unwrap().is_some());
        for (issuer, audiences, allow_private, variable) in [
            ("", "portal", "", ISSUER),
            ("https://id.example", " ,", "", AUDIENCES),
            ("http://127.0.0.1:1", "portal", "false", ISSUER),
            ("https://id.example", "portal", "yes", ALLOW_PRIVATE),
        ] {
            let error = read(issuer, audiences, allow_private).unwrap_err();
            assert_eq!(error.variable, variable, "{error}");
        }
    }
}
