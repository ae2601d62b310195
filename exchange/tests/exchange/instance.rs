//! An instance of our own making, which can misbehave in every way.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kombi_spec::session::{SessionRequest, SignedRequest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// One call to the hook.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The request line.
    pub(crate) line: String,
    /// The context of the trace that it belongs to.
    pub(crate) traceparent: Option<String>,
    /// The compact JWS, whose signature nobody has checked.
    pub(crate) jws: String,
    /// Its claims; those of a request that ends sessions are fewer.
    pub(crate) claims: SessionRequest,
}

impl Call {
    /// All that was signed.
    pub(crate) fn payload(&self) -> serde_json::Value {
        let payload = URL_SAFE_NO_PAD.decode(self.jws.split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice(&payload).unwrap()
    }
}

/// What the instance does once it has read a call.
pub(crate) enum Script {
    /// Sends these bytes and closes.
    Send(Vec<u8>),
    /// Sends these bytes and then nothing, for ever.
    Hang(Vec<u8>),
    /// Waits until it is told to, and then sends these bytes and closes.
    Wait(Arc<Notify>, Vec<u8>),
}

pub(crate) struct FakeInstance {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl FakeInstance {
    /// An instance that lets everybody in; a person's record is `r-SUB`.
    pub(crate) async fn honest() -> Self {
        Self::start(|call| {
            let sub = &call.claims.sub;
            let answer = format!(
                r#"{{"record":{{"id":"r-{sub}","n":1.0}},"token":"t-{sub}","meta":{{"kombisphere":"found"}}}}"#
            );
            Script::Send(json(200, &answer))
        })
        .await
    }

    pub(crate) async fn start(act: impl Fn(&Call) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let (seen, act) = (Arc::clone(&calls), Arc::new(act));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, act) = (Arc::clone(&seen), Arc::clone(&act));
                tokio::spawn(async move { answer(stream, &seen, &*act).await });
            }
        });
        Self { address, calls }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What was asked of it so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

async fn answer(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Call>>,
    act: &(impl Fn(&Call) -> Script + Send + Sync),
) {
    let Some(call) = read(&mut stream).await else { return };
    seen.lock().unwrap().push(call.clone());
    match act(&call) {
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

async fn read(stream: &mut TcpStream) -> Option<Call> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(SignedRequest { request: jws }) = serde_json::from_str(body)
        {
            let line = head.lines().next().unwrap().to_owned();
            let claims = URL_SAFE_NO_PAD.decode(jws.split('.').nth(1).unwrap()).unwrap();
            let claims = serde_json::from_slice(&claims).unwrap();
            let traceparent = head.lines().find_map(|line| line.strip_prefix("traceparent: "));
            return Some(Call { line, traceparent: traceparent.map(str::to_owned), jws, claims });
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
}

/// A whole answer with this status and body.
pub(crate) fn json(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = "content-type: application/json\r\nconnection: close";
    format!("HTTP/1.1 {status} X\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}
