//! `kombi-exchange kong`.

use std::{
    env, fs,
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use crate::{
    command::Failure,
    data_dir::beside,
    kong::{policies, template},
};

/// Standard output, in place of a file.
const STANDARD_OUTPUT: &str = "-";

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fill in a declarative file for a Kong without a database, if all its routes are behind the
    /// gate
    Render(RenderArgs),
}

/// Flags of `kong render`.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// The file, with placeholders like ${{ env "DECK_KOMBI_ISSUER" }}
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to put the result, which only this user may read; - is standard output, if that is no
    /// terminal
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Does what `command` says.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Render(args) => render(args),
    }
}

fn render(args: &RenderArgs) -> Result<(), Failure> {
    let about = |error: &dyn std::fmt::Display| format!("{}: {error}", args.file.display());
    let template = fs::read_to_string(&args.file).map_err(|error| Failure::Other(about(&error)))?;
    let rendered = template::render(&template, |name| env::var_os(name))
        .map_err(|error| Failure::Config(about(&error)))?;
    policies::check(&rendered).map_err(|error| Failure::Config(about(&error)))?;
    let to = &args.output;
    let written =
        if to == Path::new(STANDARD_OUTPUT) { print(&rendered) } else { write(&rendered, to) };
    written.map_err(|error| Failure::Other(format!("{}: {error}", to.display())))
}

/// The gate's signing key must not end up on somebody's screen.
fn print(rendered: &str) -> io::Result<()> {
    let mut output = io::stdout();
    if output.is_terminal() {
        return Err(io::Error::other("expected a file or a pipe, because there are keys in it"));
    }
    output.write_all(rendered.as_bytes())?;
    output.flush()
}

/// The file appears whole: a Kong that reloads meanwhile reads the old one or the new one.
fn write(rendered: &str, to: &Path) -> io::Result<()> {
    let unfinished = beside(to, ".unfinished");
    // What an interrupted run has left may have another mode.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(rendered.as_bytes()).and_then(|()| file.sync_all())?;
    fs::rename(&unfinished, to)
}
