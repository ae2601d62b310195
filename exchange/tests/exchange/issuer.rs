//! An issuer that does as it is told: a socket that finds the questions in what it reads and
//! answers with bytes.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use kombi_exchange::{address::Reach, introspection::Issuer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use url::form_urlencoded;

use crate::instance::{Script, json};

pub(crate) const CLIENT: &str = "the exchange";
pub(crate) const SECRET: &str = "CANARY secret:%";

/// One request to the issuer.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The request line.
    pub(crate) line: String,
    /// The value of `Authorization`.
    pub(crate) authorization: Option<String>,
    /// The token in the form.
    pub(crate) token: String,
}

impl Asked {
    fn is_question(&self) -> bool {
        self.line.starts_with("POST ")
    }
}

pub(crate) struct FakeIssuer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeIssuer {
    /// An issuer with proper metadata that answers questions with `act`.
    pub(crate) async fn start(act: impl Fn(&Asked) -> Script + Send + Sync + 'static) -> Self {
        let metadata = |url: &str| {
            let endpoint = format!("{url}/introspect");
            json(200, &format!(r#"{{"issuer":"{url}","introspection_endpoint":"{endpoint}"}}"#))
        };
        Self::start_with(metadata, act).await
    }

    /// An issuer that answers questions with this status and body.
    pub(crate) async fn saying(status: u16, body: &str) -> Self {
        let answer = json(status, body);
        Self::start(move |_| Script::Send(answer.clone())).await
    }

    pub(crate) async fn start_with(
        metadata: impl Fn(&str) -> Vec<u8>,
        act: impl Fn(&Asked) -> Script + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let metadata = metadata(&format!("http://{address}"));
        let (seen, act) = (Arc::clone(&asked), Arc::new(act));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, act) = (Arc::clone(&seen), Arc::clone(&act));
                let metadata = metadata.clone();
                tokio::spawn(async move {
                    let act = |asked: &Asked| {
                        if asked.is_question() { act(asked) } else { Script::Send(metadata) }
                    };
                    answer(stream, &seen, act).await;
                });
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The issuer as the exchange is configured with it.
    pub(crate) fn configured(&self) -> Issuer {
        Issuer::new(&self.url(), Reach::Private, CLIENT, SECRET).unwrap()
    }

    /// What it was asked about tokens so far.
    pub(crate) fn questions(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.is_question()).cloned().collect()
    }

    /// How often its metadata was read.
    pub(crate) fn discoveries(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| !asked.is_question()).count()
    }
}

async fn answer(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Asked>>,
    act: impl FnOnce(&Asked) -> Script,
) {
    let Some(asked) = read(&mut stream).await else { return };
    seen.lock().unwrap().push(asked.clone());
    match act(&asked) {
        Script::Send(bytes) => drop(stream.write_all(&bytes).await),
        Script::Wait(told, bytes) => {
            told.notified().await;
            drop(stream.write_all(&bytes).await);
        }
        Script::Hang(bytes) => {
            let _ = stream.write_all(&bytes).await;
            std::future::pending::<()>().await;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let header = |name| {
                let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
                headers.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned())
            };
            let length = header("content-length").map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                let form = form_urlencoded::parse(body.as_bytes());
                let token = form.into_owned().find(|(name, _)| name == "token");
                return Some(Asked {
                    line: head.lines().next().unwrap().to_owned(),
                    authorization: header("authorization"),
                    token: token.map(|(_, token)| token).unwrap_or_default(),
                });
            }
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
}
