//! `kombi-exchange doctor`.

use std::{
    env,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use jsonwebtoken::crypto::rust_crypto;
use url::Url;

use crate::{
    command::Failure,
    config,
    database::Database,
    doctor::{self, Line, Outcome, Places, declaration::Declaration},
    server::StartError,
};

/// Largest token that is read, in bytes; the gate takes no larger one.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

/// Flags of `doctor`. What none of them names is not looked at, and the answer says so.
#[derive(Debug, Args)]
#[command(next_line_help = true)]
pub struct DoctorArgs {
    /// The rendered declarative file
    #[arg(long, value_name = "FILE")]
    declaration: Option<PathBuf>,
    /// In place of it, an issuer…
    #[arg(long, value_name = "URL", requires = "audience", conflicts_with = "declaration")]
    issuer: Option<String>,
    /// …and an audience that is accepted
    #[arg(long, value_name = "ID", requires = "issuer")]
    audience: Option<String>,
    /// Where clients reach the gateway; every route is asked whether it refuses
    #[arg(long, value_name = "URL")]
    proxy: Option<Url>,
    /// Kong's status_listen
    #[arg(long, value_name = "URL")]
    kong_status: Option<Url>,
    /// Kong's admin_listen, if it has one
    #[arg(long, value_name = "URL")]
    kong_admin: Option<Url>,
    /// Kong's settings: kong.conf, or .kong_env of its prefix
    #[arg(long, value_name = "FILE")]
    kong_conf: Option<PathBuf>,
    /// The exchange's listener for the operator
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8701")]
    exchange: Url,
    /// A file with a token to explain («why is this 403?»); - is standard input
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Looks at everything, and says what would mend what is wrong.
pub async fn run(args: DoctorArgs, database: Option<Database>) -> Result<(), Failure> {
    // The core would choose its own provider, which makes no signatures for instances.
    let _ = rust_crypto::DEFAULT_PROVIDER.install_default();
    let json = args.json;
    let lines = doctor::examine(places(args, database)?).await.map_err(StartError::from)?;
    if json {
        println!("{}", serde_json::json!(lines));
    } else {
        lines.iter().for_each(print);
    }
    let failed = lines.iter().filter(|line| line.outcome == Outcome::Fail).count();
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Other(format!("{failed} of {} looks failed", lines.len()))),
    }
}

fn print(line: &Line) {
    let Line { outcome, part, look, found, mend } = line;
    let mend = mend.as_ref().map(|mend| format!("; {mend}")).unwrap_or_default();
    println!("{:<5} {part}: {look}: {found}{mend}", outcome.as_str());
}

fn places(args: DoctorArgs, database: Option<Database>) -> Result<Places, Failure> {
    let declaration = match (args.declaration, args.issuer, args.audience) {
        (Some(file), ..) => {
            let wrong = |problem| Failure::Other(format!("{}: {problem}", file.display()));
            Some(Declaration::parse(&text(&file)?).map_err(wrong)?)
        }
        (None, Some(issuer), Some(audience)) => Some(Declaration::of_issuer(&issuer, &audience)),
        _ => None,
    };
    Ok(Places {
        declaration,
        proxy: args.proxy,
        kong_status: args.kong_status,
        kong_admin: args.kong_admin,
        kong_conf: args.kong_conf.as_deref().map(text).transpose()?,
        exchange: Some(args.exchange),
        database,
        seal: match env::var_os(config::SEAL_KEY) {
            None => None,
            Some(_) => Some(config::seal_from_environment()?),
        },
        shared_store: env::var(config::SHARED_STORE).ok().filter(|url| !url.is_empty()),
        token: args.token.as_deref().map(token).transpose()?,
    })
}

fn text(file: &Path) -> Result<String, Failure> {
    let unreadable = |error| Failure::Other(format!("{} cannot be read: {error}", file.display()));
    fs::read_to_string(file).map_err(unreadable)
}

/// The token in `file`, as people paste them. It is never an argument: `ps` shows those.
fn token(file: &Path) -> Result<String, Failure> {
    let unreadable =
        |error| Failure::Other(format!("--token: {} cannot be read: {error}", file.display()));
    let input: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(file).map_err(unreadable)?)
    };
    let mut token = String::new();
    input.take(MAX_TOKEN_BYTES).read_to_string(&mut token).map_err(unreadable)?;
    let token = token.trim();
    let bare = token.get(.."Bearer ".len()).filter(|s| s.eq_ignore_ascii_case("Bearer "));
    Ok(bare.and_then(|scheme| token.get(scheme.len()..)).unwrap_or(token).trim().to_owned())
}
