//! What a webhook's HTTP answer is taken for: client-go's `Result`.

use apiserver_json::Value;
use apiserver_meta::field::go_quote;
use bytes::{Bytes, BytesMut};
use http::{Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::limits::BODY_BYTES_MAX;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The request did not get through.
    Sending(String),
    /// It did, and what came back is none.
    Answer(String),
}

/// An answer, read.
#[derive(Debug)]
pub(super) struct Answer {
    pub code: u16,
    pub content_type: String,
    pub body: Bytes,
}

/// Characters of an error page that are shown.
const SHOWN_BYTES_MAX: usize = 2048;

pub(super) async fn collect(response: Response<Incoming>) -> Result<Answer, Failed> {
    let code = response.status().as_u16();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let mut body = response.into_body();
    let mut whole = BytesMut::new();
    let broken = |why: String| {
        Failed::Answer(format!(
            "unexpected error when reading response body. Please retry. Original error: {why}"
        ))
    };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| broken("unexpected EOF".to_owned()))?;
        if let Ok(chunk) = frame.into_data() {
            if whole.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(broken(format!("it is longer than {BODY_BYTES_MAX} bytes")));
            }
            whole.extend_from_slice(&chunk);
        }
    }
    Ok(Answer { code, content_type, body: whole.freeze() })
}

/// The body of a good answer. A redirect is none: it is not followed.
pub(super) fn read(answer: Answer) -> Result<Bytes, Failed> {
    let Answer { code, content_type, body } = answer;
    if !(200..=206).contains(&code) {
        return Err(Failed::Answer(error_of(code, &content_type, &body)));
    }
    if body.is_empty() {
        let shown = if content_type.is_empty() { "application/json" } else { &content_type };
        return Err(Failed::Answer(format!(
            "0-length response with status code: {code} and content type: {shown}"
        )));
    }
    if let Some(why) = status_message(&body) {
        return Err(Failed::Answer(why));
    }
    Ok(body)
}

/// A Status in the place of an answer speaks for itself.
fn status_message(body: &[u8]) -> Option<String> {
    let value: Value = apiserver_json::from_slice(body).ok()?;
    let is_failure = value["kind"] == "Status" && value["apiVersion"] == "v1" && value["status"] != "Success";
    is_failure.then(|| value["message"].as_str().unwrap_or("unknown").to_owned())
}

fn error_of(code: u16, content_type: &str, body: &[u8]) -> String {
    if let Some(why) = status_message(body) {
        return why;
    }
    let shown = String::from_utf8_lossy(body.get(..SHOWN_BYTES_MAX).unwrap_or(body));
    let is_text = content_type.starts_with("text/") || content_type.is_empty();
    let said = if is_text { shown.trim() } else { "unknown" };
    match code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 | 415 => said.to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        406 if matches!(said, "" | "unknown") => {
            "the server was unable to respond with a content type that the client supports".to_owned()
        }
        406 => said.to_owned(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request".to_owned(),
        500.. => {
            format!("an error on the server ({}) has prevented the request from succeeding", go_quote(said))
        },
        _ => format!("the server responded with the status code {code} but did not return more information"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_as_client_go_tells_them() {
        for (code, content_type, body, want) in [
            (200, "application/json", "{}", Ok("{}")),
            (200, "", "", Err("0-length response with status code: 200 and content type: application/json")),
            (
                302,
                "text/html",
                "moved",
                Err("the server responded with the status code 302 but did not return more information"),
            ),
            (404, "text/plain", "no", Err("the server could not find the requested resource")),
            (403, "text/plain", "not you\n", Err("not you")),
            (
                500,
                "text/plain; charset=utf-8",
                "boom\n",
                Err("an error on the server (\"boom\") has prevented the request from succeeding"),
            ),
            (
                500,
                "application/json",
                "{}",
                Err("an error on the server (\"unknown\") has prevented the request from succeeding"),
            ),
            (
                200,
                "application/json",
                r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"why"}"#,
                Err("why"),
            ),
        ] {
            let answer = Answer { code, content_type: content_type.to_owned(), body: body.into() };
            let want = want.map(Bytes::from).map_err(|why: &str| Failed::Answer(why.to_owned()));
            assert_eq!(read(answer), want);
        }
    }
}
