//! Documents that clients keep: the tag of their content, and the short answer to who has it already.

use http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, Method, StatusCode};

use crate::answer::Answer;
use crate::body::full;

/// The tag of some content: as upstream's, SHA-512 in capitals.
pub(crate) fn of(content: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA512, content);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// An answer under its tag; without a body where the client says that it has it.
pub(crate) fn tagged(method: &Method, headers: &HeaderMap, mut answer: Answer, hash: &str) -> Answer {
    if let Ok(value) = format!("\"{hash}\"").parse() {
        answer.headers.push((ETAG, value));
    }
    if matches!(*method, Method::GET | Method::HEAD) && is_known(headers, hash) {
        answer.status = StatusCode::NOT_MODIFIED;
        answer.content_type = HeaderValue::from_static("");
        answer.body = full("");
    }
    answer
}

fn is_known(headers: &HeaderMap, hash: &str) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|list| list.split(',')).map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(hash)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_it_is_not_sent_it_again() {
        for (method, said, code) in [
            (Method::GET, None, 200),
            (Method::GET, Some("\"A1\""), 304),
            (Method::GET, Some("\"B2\", W/\"A1\""), 304),
            (Method::GET, Some("*"), 304),
            (Method::GET, Some("A1"), 200),
            (Method::GET, Some("\"a1\""), 200),
            (Method::POST, Some("\"A1\""), 200),
        ] {
            let headers = said.map(|said| (IF_NONE_MATCH, HeaderValue::from_static(said)));
            let headers: HeaderMap = headers.into_iter().collect();
            let answer = tagged(&method, &headers, Answer::json(StatusCode::OK, "{}"), "A1");
            assert_eq!(answer.status.as_u16(), code, "{method} {said:?}");
            assert_eq!(answer.content_type.is_empty(), code == 304);
            assert_eq!(answer.headers, [(ETAG, HeaderValue::from_static("\"A1\""))]);
        }
    }
}
