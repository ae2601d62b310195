//! What `--help` says about the environment.

/// Every variable is also a flag, except secrets.
pub(super) const ENVIRONMENT: &str = "\
Environment (a flag, where there is one, wins):
  KOMBI_EXCHANGE_DATA                 directory for the database; made if it is not there [--data]
  KOMBI_EXCHANGE_DATABASE             a PostgreSQL instead of that directory, for several exchanges, as
                                      postgres://USER@HOST/DATABASE?sslmode=require; secret if there
                                      is a password in it [--database, without one]
  KOMBI_EXCHANGE_DATABASE_PASSWORD    secret, the password there, if it is not in the URL;
                                      environment only
  KOMBI_EXCHANGE_SEAL_KEY             secret, 32 bytes in base64url: seals the keys of instances in
                                      the database; environment only, so that `ps` does not show it
  KOMBI_EXCHANGE_NEW_SEAL_KEY         secret, for `rotate-keys`: the key that takes the place of that
                                      one; environment only
  KOMBI_EXCHANGE_SUPERUSER_PASSWORD   secret, for `instance add --superuser` and `instance rotate-key
                                      --superuser`: that superuser's password; environment only
  KOMBI_EXCHANGE_ASSERTION_KEYS       the gate's Ed25519 public key `x` in base64url; two, separated
                                      by a comma, while they are rotated [--assertion-keys]
  KOMBI_EXCHANGE_LISTEN               address for the gateway, 127.0.0.1:8700 [--listen]
  KOMBI_EXCHANGE_OPS_LISTEN           address for /livez, /readyz and /metrics, 127.0.0.1:8701
                                      [--ops-listen]
  KOMBI_EXCHANGE_CLOCK_SKEW_S         how far the gateway's clock may differ, in seconds, 5
                                      [--clock-skew-s]
  KOMBI_EXCHANGE_INSTANCE_TIMEOUT_MS  how long an instance may take to answer, in milliseconds, 2000
                                      [--instance-timeout-ms]
  KOMBI_EXCHANGE_INTROSPECTION_ISSUER the issuer whose opaque tokens are introspected, exactly as it
                                      names itself; without it none are [--introspection-issuer]
  KOMBI_EXCHANGE_INTROSPECTION_CLIENT_ID
                                      the exchange's client at that issuer
                                      [--introspection-client-id]
  KOMBI_EXCHANGE_INTROSPECTION_CLIENT_SECRET
                                      secret, that client's; environment only
  KOMBI_EXCHANGE_INTROSPECTION_ENDPOINT
                                      where to ask, if not where the issuer's metadata says, which
                                      must be its own origin [--introspection-endpoint]
  KOMBI_EXCHANGE_INTROSPECTION_ALLOW_PRIVATE
                                      true lets the issuer be at a private address and without TLS,
                                      false [--introspection-allow-private]
  KOMBI_EXCHANGE_LOGOUT_ISSUER        the issuer whose back-channel logouts end sessions, exactly as it
                                      names itself; without it none do [--logout-issuer]
  KOMBI_EXCHANGE_LOGOUT_AUDIENCES     its clients whose logouts count, separated by commas
                                      [--logout-audiences]
  KOMBI_EXCHANGE_LOGOUT_ALLOW_PRIVATE true lets that issuer be at a private address and without TLS,
                                      false [--logout-allow-private]
  KOMBI_EXCHANGE_PLANS                file with plans and budgets of AI usage; without it no ledger is
                                      kept [--plans]
  KOMBI_EXCHANGE_PRICES               file with the prices of models, which billed plans need; both
                                      files are read again on SIGHUP [--prices]
  KOMBI_EXCHANGE_PROVIDER_<NAME>_KEY  secret, opens the AI provider of that name; environment only
  KOMBI_EXCHANGE_PROVIDER_<NAME>_KEYLESS
                                      true for a provider that needs no key; environment only
  KOMBI_EXCHANGE_USAGE_LONGEST_CALL_S how long an AI call can take, in seconds, 900; then it is
                                      closed with what was reserved [--usage-longest-call-s]
  KOMBI_EXCHANGE_BACKUP_DIR           folder for copies of the database; without it none are made
                                      [--backup-dir]
  KOMBI_EXCHANGE_BACKUP_EVERY_S       how old the newest copy may become, in seconds, 86400
                                      [--backup-every-s]
  KOMBI_EXCHANGE_BACKUP_KEEP          how many copies stay, 7 [--backup-keep]
  KOMBI_EXCHANGE_MAX_CONNECTIONS      connections from the gateway at once; more wait, 8192
                                      [--max-connections]
  KOMBI_EXCHANGE_SHARED_STORE         secret, where limits that nodes share are kept: the redis:// URL
                                      of a Valkey or Redis, for several exchanges; without it, in
                                      this process; environment only
  KOMBI_EXCHANGE_LOG                  what is logged, as level or target=level,…, info [--log]
  OTEL_EXPORTER_OTLP_ENDPOINT         where traces are sent, in OTLP over HTTP; without it they are not
                                      kept; OTEL_EXPORTER_OTLP_HEADERS (secret), OTEL_SERVICE_NAME and
                                      the others of OpenTelemetry are heeded; environment only
  SSL_CERT_FILE                       root certificates for https instances and the issuer, if not
                                      the machine's

The seal key is needed by `serve`, by `instance` but for `list`, by `audit`, `restore` and `rotate-keys`, the
database by every command but `keygen`, `kong` and `ready`, the keys of the gate, plans and prices also by `usage replay`,
everything else by `serve` alone. `kong render` reads the DECK_ variables that its file asks for. Exit codes: 0 done, 1 failed, 2 configured wrongly.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        usage::{PLANS, PRICES},
    };

    #[test]
    fn help_explains_every_variable() {
        for variable in [
            config::DATA,
            config::DATABASE,
            config::DATABASE_PASSWORD,
            config::SEAL_KEY,
            config::NEW_SEAL_KEY,
            config::SUPERUSER_PASSWORD,
            config::ASSERTION_KEYS,
            config::LISTEN,
            config::OPS_LISTEN,
            config::CLOCK_SKEW_S,
            config::INSTANCE_TIMEOUT_MS,
            config::INTROSPECTION_ISSUER,
            config::INTROSPECTION_CLIENT_ID,
            config::INTROSPECTION_CLIENT_SECRET,
            config::INTROSPECTION_ENDPOINT,
            config::INTROSPECTION_ALLOW_PRIVATE,
            config::LOGOUT_ISSUER,
            config::LOGOUT_AUDIENCES,
            config::LOGOUT_ALLOW_PRIVATE,
            config::USAGE_LONGEST_CALL_S,
            PLANS,
            PRICES,
            config::BACKUP_DIR,
            config::BACKUP_EVERY_S,
            config::BACKUP_KEEP,
            config::MAX_CONNECTIONS,
            config::SHARED_STORE,
            config::LOG,
            config::COLLECTOR,
        ] {
            let named = |line: &str| line.split_whitespace().next() == Some(variable);
            let explained = ENVIRONMENT.lines().any(named);
            assert!(explained, "{variable}");
        }
    }
}
