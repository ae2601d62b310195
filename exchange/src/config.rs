//! Configuration: read once from flags and environment, into types that cannot be wrong.

mod backup;
mod database;
mod introspection;
mod logout;
mod usage;

use std::{env, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tracing_subscriber::filter::Targets;
use url::Url;

use crate::{
    assertion::GateKey,
    backup::schedule::Schedule,
    body::BodyLimits,
    command::serve::ServeArgs,
    database::Database,
    flags,
    introspection::{Issuer, Limits as IntrospectionLimits},
    leases::store::{Local, Shared, Store},
    logout::LogoutIssuer,
    outbound::{Lookup, system_lookup},
    seal::Seal,
    usage::Settings as UsageSettings,
};

pub use backup::{DIR as BACKUP_DIR, EVERY_S as BACKUP_EVERY_S, KEEP as BACKUP_KEEP};
pub use database::{DATABASE, DATABASE_PASSWORD, data_directory, database, known_database};
pub use introspection::{
    ALLOW_PRIVATE as INTROSPECTION_ALLOW_PRIVATE, CLIENT_ID as INTROSPECTION_CLIENT_ID,
    CLIENT_SECRET as INTROSPECTION_CLIENT_SECRET, ENDPOINT as INTROSPECTION_ENDPOINT,
    ISSUER as INTROSPECTION_ISSUER,
};
pub use logout::{
    ALLOW_PRIVATE as LOGOUT_ALLOW_PRIVATE, AUDIENCES as LOGOUT_AUDIENCES, ISSUER as LOGOUT_ISSUER,
};
pub use usage::{LONGEST_CALL_S as USAGE_LONGEST_CALL_S, ledger};

/// Where the gateway connects to.
pub const LISTEN: &str = "KOMBI_EXCHANGE_LISTEN";
/// Where the operator connects to.
pub const OPS_LISTEN: &str = "KOMBI_EXCHANGE_OPS_LISTEN";
/// Where the operator connects to, unless it is said.
pub const DEFAULT_OPS_LISTEN: &str = "127.0.0.1:8701";
/// The data directory.
pub const DATA: &str = "KOMBI_EXCHANGE_DATA";
/// The gate's public keys.
pub const ASSERTION_KEYS: &str = "KOMBI_EXCHANGE_ASSERTION_KEYS";
/// Seals instances' keys at rest.
pub const SEAL_KEY: &str = "KOMBI_EXCHANGE_SEAL_KEY";
/// What takes its place, for `rotate-keys`.
pub const NEW_SEAL_KEY: &str = "KOMBI_EXCHANGE_NEW_SEAL_KEY";
/// Where shared limits are kept, if not in this process.
pub const SHARED_STORE: &str = "KOMBI_EXCHANGE_SHARED_STORE";
/// The password of the superuser that an instance is registered with.
pub const SUPERUSER_PASSWORD: &str = "KOMBI_EXCHANGE_SUPERUSER_PASSWORD";
/// What is logged.
pub const LOG: &str = "KOMBI_EXCHANGE_LOG";
/// Where traces are sent, as OpenTelemetry's specification has it.
pub const COLLECTOR: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// How far clocks may differ.
pub const CLOCK_SKEW_S: &str = "KOMBI_EXCHANGE_CLOCK_SKEW_S";
/// How long an instance may take.
pub const INSTANCE_TIMEOUT_MS: &str = "KOMBI_EXCHANGE_INSTANCE_TIMEOUT_MS";
/// How many connections there may be.
pub const MAX_CONNECTIONS: &str = "KOMBI_EXCHANGE_MAX_CONNECTIONS";

/// What `serve` needs to know.
pub struct Config {
    /// Where the gateway connects to.
    pub listen: SocketAddr,
    /// Where the operator connects to.
    pub ops_listen: SocketAddr,
    /// Where everything is kept.
    pub database: Database,
    /// The gate's public keys: one, or two while they are rotated.
    pub gate_keys: Vec<GateKey>,
    /// Opens the keys of instances.
    pub seal: Seal,
    /// How far clocks may differ.
    pub clock_skew: Duration,
    /// How long after a request's arrival its instance may still answer.
    pub instance_timeout: Duration,
    /// Who says whether an opaque token is good.
    pub introspection: Option<Issuer>,
    /// Who tells of logouts.
    pub logout: Option<LogoutIssuer>,
    /// Where shared limits are kept.
    pub leases: Arc<dyn Store>,
    /// How the ledger of AI usage is kept, if it is.
    pub usage: Option<UsageSettings>,
    /// When the database is copied, and where to, if it is.
    pub backup: Option<Schedule>,
    /// How many connections from the gateway there may be at once.
    pub max_connections: u32,
    /// What needs no configuring.
    pub limits: Limits,
    /// Looks up the names of instances and of the issuer.
    pub lookup: Lookup,
}

/// Limits that an operator has no reason to change; tests do.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a connection may go without a whole head of a request.
    pub idle: Duration,
    /// What a request's body may cost.
    pub body: BodyLimits,
    /// How many requests may be under way.
    pub requests: usize,
    /// How many calls to one instance may be under way.
    pub lane: usize,
    /// How long a request waits for its turn with an instance.
    pub lane_patience: Duration,
    /// What questions about tokens may cost.
    pub introspection: IntrospectionLimits,
    /// How long feature flags in an instance are not looked at again.
    pub drift: Duration,
    /// How often what is old is looked through for what is over.
    pub sweep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Longer than Kong keeps an idle connection (60 s): whoever closes first must not be
            // the one who is being sent a request.
            idle: Duration::from_secs(75),
            body: BodyLimits { bytes: 16 * 1024, time: Duration::from_secs(5) },
            requests: 512,
            lane: 16,
            lane_patience: Duration::from_millis(250),
            introspection: IntrospectionLimits::default(),
            drift: flags::DRIFT,
            sweep: Duration::from_secs(60),
        }
    }
}

/// The configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: expected {expected}, found {found}")]
pub struct ConfigError {
    /// The variable at fault.
    pub variable: &'static str,
    /// What was expected.
    pub expected: &'static str,
    /// What was found; never a secret.
    pub found: String,
}

impl Config {
    /// The configuration in `args` and the environment, for `database`.
    pub fn new(args: &ServeArgs, database: Database) -> Result<Self, ConfigError> {
        Ok(Self {
            backup: backup::schedule(args, &database)?,
            listen: address(LISTEN, &args.listen)?,
            ops_listen: ops_listen(&args.ops_listen)?,
            database,
            gate_keys: gate_keys(args.assertion_keys.as_deref())?,
            seal: seal(SEAL_KEY, env::var(SEAL_KEY))?,
            clock_skew: Duration::from_secs(number(
                CLOCK_SKEW_S,
                &args.clock_skew_s,
                (0, 60),
                "whole seconds from 0 to 60",
            )?),
            instance_timeout: Duration::from_millis(number(
                INSTANCE_TIMEOUT_MS,
                &args.instance_timeout_ms,
                (50, 30_000),
                "whole milliseconds from 50 to 30000",
            )?),
            introspection: introspection::issuer(args)?,
            logout: logout::issuer(args)?,
            leases: leases(env::var(SHARED_STORE))?,
            usage: usage::settings(&args.terms, &args.usage_longest_call_s)?,
            max_connections: number(
                MAX_CONNECTIONS,
                &args.max_connections,
                (1, 65_536),
                "a number of connections from 1 to 65536",
            )?,
            limits: Limits::default(),
            lookup: system_lookup,
        })
    }
}

/// Where the operator connects to.
pub fn ops_listen(text: &str) -> Result<SocketAddr, ConfigError> {
    address(OPS_LISTEN, text)
}

/// The seal of the key in the environment.
pub fn seal_from_environment() -> Result<Seal, ConfigError> {
    seal(SEAL_KEY, env::var(SEAL_KEY))
}

/// That seal, and the one that takes its place.
pub fn seals_from_environment() -> Result<(Seal, Seal), ConfigError> {
    Ok((seal_from_environment()?, seal(NEW_SEAL_KEY, env::var(NEW_SEAL_KEY))?))
}

/// Where traces are sent, if they are.
pub fn collector() -> Result<Option<Url>, ConfigError> {
    let Some(text) = env::var_os(COLLECTOR).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let url = text.to_str().and_then(|text| Url::parse(text).ok());
    let usable = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    // It is not quoted: there can be a password in it.
    let wrong = || ConfigError {
        variable: COLLECTOR,
        expected: "an http or https URL, like http://127.0.0.1:4318",
        found: "something else".to_owned(),
    };
    usable.map(Some).ok_or_else(wrong)
}

/// The password in the environment of a superuser.
pub fn superuser_password() -> Result<String, ConfigError> {
    let password = env::var(SUPERUSER_PASSWORD).ok().filter(|password| !password.is_empty());
    password.ok_or_else(|| ConfigError {
        variable: SUPERUSER_PASSWORD,
        expected: "the superuser's password, from the environment",
        found: "nothing".to_owned(),
    })
}

/// What is logged.
pub fn log_filter(text: &str) -> Result<Targets, ConfigError> {
    Targets::from_str(text).map_err(|_| ConfigError {
        variable: LOG,
        expected: "a level, or a list like warn,kombi_exchange=debug",
        found: format!("{text:?}"),
    })
}

fn address(variable: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| ConfigError {
        variable,
        expected: "an IP address and a port, like 127.0.0.1:8700",
        found: format!("{text:?}"),
    })
}

fn number<N: FromStr + PartialOrd>(
    variable: &'static str,
    text: &str,
    (least, most): (N, N),
    expected: &'static str,
) -> Result<N, ConfigError> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| ConfigError { variable, expected, found: format!("{text:?}") })
}

/// The gate's public keys.
pub fn gate_keys(text: Option<&str>) -> Result<Vec<GateKey>, ConfigError> {
    let wrong = |found| ConfigError {
        variable: ASSERTION_KEYS,
        expected: "one or two Ed25519 public keys (32 bytes, base64url), comma-separated",
        found,
    };
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| wrong("nothing".to_owned()))?;
    let keys: Vec<&str> = text.split(',').map(str::trim).collect();
    if keys.len() > 2 {
        return Err(wrong(format!("{} of them", keys.len())));
    }
    keys.iter()
        .zip(["first", "second"])
        .map(|(key, nth)| {
            // What is not a public key could be a private one; it is not quoted.
            GateKey::parse(key).map_err(|problem| wrong(format!("a {nth} that is {problem}")))
        })
        .collect()
}

/// The address is not quoted: there can be a password in it.
fn leases(value: Result<String, env::VarError>) -> Result<Arc<dyn Store>, ConfigError> {
    let wrong = |found: &str| ConfigError {
        variable: SHARED_STORE,
        expected: "a URL like redis://127.0.0.1:6379/0, from the environment",
        found: found.to_owned(),
    };
    match value {
        Ok(url) if !url.is_empty() => {
            let store = Shared::new(&url).map_err(|problem| wrong(&problem.to_string()))?;
            Ok(Arc::new(store))
        }
        Ok(_) | Err(env::VarError::NotPresent) => Ok(Arc::new(Local::new())),
        Err(env::VarError::NotUnicode(_)) => Err(wrong("something else")),
    }
}

fn seal(variable: &'static str, value: Result<String, env::VarError>) -> Result<Seal, ConfigError> {
    let wrong = |found: &str| ConfigError {
        variable,
        expected: "32 bytes in base64url (`kombi-exchange keygen` makes some), from the environment",
        found: found.to_owned(),
    };
    let text = value.map_err(|_| wrong("nothing"))?;
    if text.is_empty() {
        return Err(wrong("nothing"));
    }
    let bytes = URL_SAFE_NO_PAD.decode(&text).map_err(|_| {
        wrong(&format!("{} characters that are not base64url", text.chars().count()))
    })?;
    let key = <&[u8; 32]>::try_from(bytes.as_slice())
        .map_err(|_| wrong(&format!("{} bytes", bytes.len())))?;
    Seal::new(key).ok_or_else(|| wrong("a key that is refused"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_key_is_32_bytes_and_never_quoted() {
        for (value, found) in [
            ("", "nothing"),
            ("AAAA", "3 bytes"),
            ("not base64!", "11 characters that are not base64url"),
            (
                "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                "44 characters that are not base64url",
            ),
        ] {
            let error = seal(SEAL_KEY, Ok(value.to_owned())).unwrap_err();
            assert_eq!(error.found, found, "{value}");
            assert!(error.to_string().starts_with("KOMBI_EXCHANGE_SEAL_KEY: expected 32 bytes"));
        }
        assert_eq!(seal(SEAL_KEY, Err(env::VarError::NotPresent)).unwrap_err().found, "nothing");
        assert!(seal(SEAL_KEY, Ok("A".repeat(43))).is_ok());
    }

    #[tokio::test]
    async fn a_shared_store_is_a_redis_url_and_never_quoted() {
        for (value, taken) in [
            (Ok(String::new()), true),
            (Err(env::VarError::NotPresent), true),
            (Ok("redis://:c2VjcmV0@127.0.0.1:6379/0".to_owned()), true),
            (Ok("http://:c2VjcmV0@127.0.0.1".to_owned()), false),
            (Ok("c2VjcmV0".to_owned()), false),
        ] {
            match leases(value) {
                Ok(_) => assert!(taken),
                Err(error) => {
                    let text = error.to_string();
                    assert!(!taken && !text.contains("c2Vj"), "{text}");
                }
            }
        }
    }

    #[test]
    fn one_or_two_gate_keys_are_taken() {
        let key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        assert_eq!(gate_keys(Some(key)).map(|keys| keys.len()), Ok(1));
        assert_eq!(gate_keys(Some(&format!("{key}, {key}"))).map(|keys| keys.len()), Ok(2));
        for (text, found) in [
            (None, "nothing"),
            (Some(" "), "nothing"),
            (Some("AAAA"), "a first that is not 32 bytes in base64url without padding"),
            (
                Some(&*format!("{key},")),
                "a second that is not 32 bytes in base64url without padding",
            ),
            (Some(&*format!("{key},{key},{key}")), "3 of them"),
        ] {
            assert_eq!(gate_keys(text).err().unwrap().found, found);
        }
    }

    #[test]
    fn numbers_have_bounds() {
        let parse = |text| number::<u64>(CLOCK_SKEW_S, text, (0, 60), "0 to 60");
        assert_eq!(parse("60"), Ok(60));
        for text in ["61", "-1", "", "5s", "1.5"] {
            assert_eq!(parse(text).unwrap_err().found, format!("{text:?}"));
        }
    }
}
