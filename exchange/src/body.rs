//! Bodies of requests, within limits.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use kombi_spec::code::Code;
use tokio::time::timeout;

use crate::refusal::Refusal;

/// What a request may cost before anything about it is known.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// The largest body, in bytes.
    pub bytes: usize,
    /// How long the body may take to arrive.
    pub time: Duration,
}

/// A request's body, as whoever accepted the connection hands it over.
pub trait RequestBody: Body<Error: Into<Box<dyn Error + Send + Sync>>> {}

impl<B> RequestBody for B where B: Body<Error: Into<Box<dyn Error + Send + Sync>>> {}

/// The whole of `body`. It is read even where nothing in it is asked for: unread, it would cost
/// the gateway its connection.
pub async fn read(body: impl RequestBody, limits: BodyLimits) -> Result<Bytes, Refusal> {
    let BodyLimits { bytes, time } = limits;
    let late = || Refusal::new(Code::RequestTimeout, "the body did not arrive in time");
    match timeout(time, Limited::new(body, bytes).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("the body is larger than {bytes} bytes");
            Err(Refusal::new(Code::BodyTooLarge, detail))
        }
        Ok(Err(error)) => Err(late().because(error)),
        Err(_) => Err(late()),
    }
}
