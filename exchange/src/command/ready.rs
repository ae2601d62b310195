//! `kombi-exchange ready`: for the health check of a container, which has nothing else in it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use clap::Args;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{command::Failure, config};

/// How long the exchange may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Most that is read of the answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 4 * 1024;

/// Flags of `ready`.
#[derive(Debug, Args)]
pub struct ReadyArgs {
    /// Where the exchange tells how it is
    #[arg(long, value_name = "ADDRESS", env = config::OPS_LISTEN, hide_env_values = true)]
    #[arg(default_value = config::DEFAULT_OPS_LISTEN)]
    ops_listen: String,
}

/// An error unless the exchange on this machine is ready.
pub async fn run(args: &ReadyArgs) -> Result<(), Failure> {
    let listens = config::ops_listen(&args.ops_listen)?;
    let answer = match timeout(PATIENCE, ask(reachable(listens))).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(Failure::Other(format!("{listens}: {error}"))),
        Err(_) => {
            let waited = PATIENCE.as_secs();
            return Err(Failure::Other(format!("{listens}: no answer within {waited} s")));
        }
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(Failure::Other(format!("not ready: {}", body.trim())))
}

/// Where a server that listens on `address` is found from the same machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// What `GET /readyz` answers, with its head.
async fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
