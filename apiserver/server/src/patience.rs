//! How long a request is waited for, and what becomes of it when nobody waits any more.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use apiserver_meta::Status;
use apiserver_meta::duration::go_parse_duration;
use futures::future::BoxFuture;
use http::StatusCode;

use crate::answer::Answer;
use crate::limits;
use crate::query::Query;
use crate::request_info::RequestInfo;

/// How long an answer may take, where that is asked for; a stream ends in its own ways.
///
/// # Errors
/// 400 of a duration that is none.
pub(crate) fn timeout(info: &RequestInfo, query: &Query) -> Result<Option<Duration>, Status> {
    let text = query.text("timeout");
    if text.is_empty() || is_stream(info) {
        return Ok(None);
    }
    let seconds = go_parse_duration(text).map_err(|why| {
        Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))
    })?;
    let asked = Duration::try_from_secs_f64(seconds).ok().filter(|asked| !asked.is_zero());
    Ok(Some(asked.unwrap_or(limits::REQUEST_TIMEOUT).min(limits::REQUEST_TIMEOUT)))
}

/// What may go on for as long as it likes: upstream's `BasicLongRunningRequestCheck`.
pub(crate) fn is_stream(info: &RequestInfo) -> bool {
    matches!(info.verb.as_str(), "watch" | "proxy")
        || matches!(info.subresource.as_str(), "attach" | "exec" | "log" | "portforward" | "proxy")
}

/// Whether what was begun must come to its end: what a write holds is given back, or kept, after the store has answered.
pub(crate) fn must_end(info: &RequestInfo) -> bool {
    let writes = ["create", "update", "patch", "delete", "deletecollection"];
    writes.contains(&info.verb.as_str()) && !is_stream(info)
}

/// Waits for an answer up to a moment.
pub(crate) async fn until(moment: Option<Instant>, work: Work) -> Answer {
    match moment {
        None => work.await,
        Some(moment) => tokio::time::timeout_at(moment.into(), work).await.unwrap_or_else(|_| timed_out()),
    }
}

/// The answer to who does not want to wait any longer. Upstream's is a Status that does not say that it is one.
fn timed_out() -> Answer {
    let mut status =
        Status::new(504, "Timeout", "Timeout: request did not complete within the allotted timeout")
            .with_details(apiserver_json::json!({}))
            .to_json();
    if let Some(map) = status.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    Answer::text(StatusCode::GATEWAY_TIMEOUT, format!("{status}\n"))
}

/// The work for an answer. Where it must end, it goes on by itself when it is dropped before: by a time-out, or by a client
/// that went away. It is large: it is made where it stays, and only its box is moved.
pub(crate) struct Work {
    rest: Option<BoxFuture<'static, Answer>>,
    must_end: bool,
}

impl Work {
    pub(crate) fn new(work: BoxFuture<'static, Answer>, must_end: bool) -> Self {
        Self { rest: Some(work), must_end }
    }
}

impl Future for Work {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let Some(work) = &mut self.rest else { return Poll::Pending };
        let done = work.as_mut().poll(context);
        if done.is_ready() {
            self.rest = None;
        }
        done
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What panicked is at its end.
        let rest = self.rest.take().filter(|_| self.must_end && !std::thread::panicking());
        if let (Some(rest), Ok(runtime)) = (rest, tokio::runtime::Handle::try_current()) {
            runtime.spawn(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use tokio::sync::oneshot;

    #[test]
    fn nobody_waits_longer_than_was_asked_for() {
        let timeout = |target: &str| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let query = Query::parse(query);
            timeout(&RequestInfo::parse(&Method::GET, path, &query), &query)
        };
        for (target, want) in [
            ("/api/v1/pods", None),
            ("/api/v1/pods?timeout=2s", Some(2)),
            ("/api/v1/pods?timeout=0", Some(60)),
            ("/api/v1/pods?timeout=-1s", Some(60)),
            ("/api/v1/pods?timeout=1h", Some(60)),
            ("/api/v1/pods?watch=1&timeout=1h", None),
        ] {
            assert_eq!(timeout(target).unwrap(), want.map(Duration::from_secs), "{target}");
        }
        assert_eq!(timeout("/api/v1/pods?timeout=1").unwrap_err().code, 400);
    }

    #[tokio::test]
    async fn what_was_begun_comes_to_its_end_though_nobody_waits() {
        let (answer, answered) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel();
        let work = async move {
            drop(answered.await);
            done.send("done").expect("somebody listens");
            Answer::text(StatusCode::OK, "done")
        };
        let answer_in_time = until(Some(Instant::now()), Work::new(Box::pin(work), true)).await;
        assert_eq!(answer_in_time.status, StatusCode::GATEWAY_TIMEOUT);
        answer.send(()).expect("it goes on");
        assert_eq!(ended.await, Ok("done"));
    }

    #[tokio::test]
    async fn what_is_in_time_is_answered() {
        let work = Work::new(Box::pin(async { Answer::text(StatusCode::OK, "done") }), true);
        assert_eq!(until(None, work).await.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn what_only_reads_ends_when_nobody_waits() {
        let (held, dropped) = oneshot::channel::<()>();
        let work = async move {
            let _held = held;
            std::future::pending().await
        };
        drop(until(Some(Instant::now()), Work::new(Box::pin(work), false)).await);
        assert!(dropped.await.is_err());
    }
}
