//! `GET /me/usage` and `GET /admin/usage`. See [`kombi_spec::usage::report`].

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response,
    header::{
        ACCEPT, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
    },
};
use kombi_spec::{
    assertion::Assertion,
    code::Code,
    usage::report::{ADMIN_ROLE, MAX_ROWS, Report},
};
use tokio::time::timeout;
use url::form_urlencoded;

use super::{
    Usage,
    report::{Question, csv, page},
};
use crate::{
    audit::{Act, Action, Actor},
    body::RequestBody,
    random,
    refusal::Refusal,
    reply, role,
    route::Trace,
    store::StoreError,
    time::UnixTime,
    vouched,
};

/// How long a report may take. The database goes on with it, but nobody waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the client would like a report to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
    Page,
}

impl Form {
    /// The first form in `Accept` (RFC 9110 section 12.5.1) that there is; JSON if there is none.
    /// Weights are not looked at: nobody who asks for several of these minds which.
    fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let mut types = accept.flat_map(|value| value.split(',')).map(|one| {
            let media_type = one.split(';').next().unwrap_or_default();
            media_type.trim().to_ascii_lowercase()
        });
        let form = |media_type: String| match &*media_type {
            "text/html" => Some(Self::Page),
            "text/csv" => Some(Self::Csv),
            "application/json" => Some(Self::Json),
            _ => None,
        };
        types.find_map(form).unwrap_or(Self::Json)
    }
}

impl Usage {
    /// Tells somebody what they used.
    pub async fn mine(
        &self,
        request: Request<impl RequestBody>,
        trace: &mut Trace,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let (asker, question, form) = self.asked_by_a_person(request, trace).await?;
        let report = self.report(question.of(&asker.sub)).await?;
        match form {
            Form::Csv => Ok(spreadsheet(&report)),
            Form::Json | Form::Page => reply::json(&report),
        }
        .map(varying)
    }

    /// Tells an admin what anybody used.
    pub async fn everybodys(
        &self,
        request: Request<impl RequestBody>,
        trace: &mut Trace,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let (asker, question, form) = self.asked_by_a_person(request, trace).await?;
        role::require(&asker, ADMIN_ROLE)?;
        let act = Act::new(Actor::Person(asker.sub), asker.jti);
        let read = act.did(Action::UsageRead).with(question.about());
        let read = read.on(question.person().unwrap_or_default());
        let written = self.audit.write(&self.ledger()?.store, read).await;
        written?;
        match form {
            Form::Json => reply::json(&self.report(question).await?),
            Form::Csv => Ok(spreadsheet(&self.report(question).await?)),
            Form::Page => self.page(&question).await,
        }
        .map(varying)
    }

    async fn page(&self, question: &Question) -> Result<Response<Full<Bytes>>, Refusal> {
        let mut reports = Vec::with_capacity(page::VIEWS.len());
        for (dimension, _) in page::VIEWS {
            reports.push(self.report(question.by(dimension)).await?);
        }
        let nonce = random::request_id();
        let mut response =
            reply::of(page::write(question, &reports, &nonce), "text/html; charset=utf-8");
        let policy = HeaderValue::try_from(page::policy(&nonce)).map_err(Refusal::internal)?;
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok(response)
    }

    async fn report(&self, question: Question) -> Result<Report, Refusal> {
        let ledger = self.ledger()?;
        let read = ledger.store.read_long(move |connection| question.answer(connection));
        let late = || Refusal::new(Code::Overloaded, "the report takes too long");
        let report: Result<_, StoreError> = timeout(PATIENCE, read).await.map_err(|_| late())?;
        report?.ok_or_else(|| {
            let detail = format!("the report would have more than {MAX_ROWS} rows");
            Refusal::new(Code::ReportTooLarge, detail)
        })
    }

    /// Who asks, for what, and how they want it.
    async fn asked_by_a_person(
        &self,
        request: Request<impl RequestBody>,
        trace: &mut Trace,
    ) -> Result<(Assertion, Question, Form), Refusal> {
        let now = UnixTime::now();
        let (verifier, store) = (&self.verifier, &self.ledger()?.store);
        let (head, _, asker) =
            vouched::of_a_person(verifier, store, request, self.body, trace).await?;
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let pairs: Vec<_> = form_urlencoded::parse(query).collect();
        let pairs = pairs.iter().map(|(name, value)| (&**name, &**value));
        Ok((asker, Question::new(now).with(pairs)?, Form::of(&head.headers)))
    }
}

fn spreadsheet(report: &Report) -> Response<Full<Bytes>> {
    reply::of(csv::write(report), "text/csv; charset=utf-8")
}

fn varying(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_there_is_wins() {
        for (accept, form) in [
            (None, Form::Json),
            (Some("*/*"), Form::Json),
            (Some("text/csv"), Form::Csv),
            (Some("Text/CSV; header=present"), Form::Csv),
            (Some("image/png, text/html;q=0.9"), Form::Page),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Form::Page),
            (Some("application/json, text/html"), Form::Json),
            (Some(""), Form::Json),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept))));
            assert_eq!(Form::of(&headers), form, "{accept:?}");
        }
    }
}
