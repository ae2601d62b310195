//! What is to be encrypted is, and goes to the server that is meant and no other.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use libtest_mimic::Failed;
use stack::postgres::{Durability, Postgres};
use tokio::runtime::Runtime;

/// How long the server may take to read its settings again.
const READS_WITHIN: Duration = Duration::from_secs(30);

/// Where the server has what it needs, and clients have what they trust.
const FILES: [&str; 3] = ["authority.pem", "server.pem", "server.key"];

pub(crate) fn holds(program: &Path) -> Result<(), Failed> {
    let runtime = Runtime::new()?;
    let server = runtime.block_on(Postgres::start(Durability::None))?;
    let url = server.database("encrypted")?;
    let at = |host: &str, mode: &str| {
        format!(
            "{}?sslmode={mode}",
            url.replace("127.0.0.1", host).replace("kombi@", "kombi:c2Vj@")
        )
    };
    let [authority, certificate, key] = FILES.map(|file| server.folder().join(file));
    let works = |url: &str, trusted: &Path| {
        let mut list = Command::new(program);
        list.env_clear().env("KOMBI_EXCHANGE_DATABASE", url).env("SSL_CERT_FILE", trusted);
        let Output { status, stderr, .. } = list.args(["instance", "list"]).output()?;
        let said = String::from_utf8_lossy(&stderr).into_owned();
        assert!(!said.contains("c2Vj"), "the password is told: {said}");
        Ok::<_, Failed>((status.code(), said))
    };
    make_certificates(server.folder())?;
    let (exit, said) = works(&at("localhost", "require"), &authority)?;
    assert_eq!(exit, Some(1), "a server without TLS: {said}");
    assert!(said.contains("does not support TLS"), "{said}");

    [&certificate, &key].into_iter().try_for_each(|file| server.give(file))?;
    let set = format!(
        "ALTER SYSTEM SET ssl_cert_file = '{}'; ALTER SYSTEM SET ssl_key_file = '{}';
         ALTER SYSTEM SET log_connections = on; ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf()",
        certificate.display(),
        key.display()
    );
    server.run(&set)?;
    let deadline = Instant::now() + READS_WITHIN;
    while server.run("SHOW ssl")?.trim() != "on" {
        assert!(Instant::now() < deadline, "TLS is not on: {}", server.log()?);
        std::thread::sleep(Duration::from_millis(20));
    }
    for mode in ["require", "verify-full"] {
        let (exit, said) = works(&at("localhost", mode), &authority)?;
        assert_eq!(exit, Some(0), "{mode}: {said}");
        assert!(server.log()?.contains("SSL enabled (protocol=TLSv1.3"), "{}", server.log()?);
        for (host, trusted) in [("localhost", &certificate), ("127.0.0.1", &authority)] {
            let (exit, said) = works(&at(host, mode), trusted)?;
            assert_eq!(exit, Some(1), "{mode} {host}: another's certificate: {said}");
            assert!(said.contains("certificate"), "{mode} {host}: {said}");
        }
    }
    Ok(())
}

/// An authority, and its certificate for localhost.
fn make_certificates(folder: &Path) -> Result<(), Failed> {
    let make = |arguments: &str| {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-days", "1", "-nodes", "-newkey", "ec"]);
        openssl.args(["-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        let made = openssl.args(arguments.split(' ')).current_dir(folder).output()?;
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        if made.status.success() { Ok(()) } else { Err(Failed::from(said)) }
    };
    make("-subj /CN=authority -keyout authority.key -out authority.pem")?;
    make(
        "-subj /CN=server -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE \
         -CA authority.pem -CAkey authority.key -keyout server.key -out server.pem",
    )?;
    Ok(fs::remove_file(folder.join("authority.key"))?)
}
