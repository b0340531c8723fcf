//! Setting the cookies of stickiness on answers of targets.
//!
//! What they stand for is `alb-routing`'s.

use ccm_mock_alb_routing::Cookie;
use http::header::{HeaderMap, HeaderValue, SET_COOKIE};

/// The line of a cookie, as ALB writes it: with `Expires`, and `Secure` only where the client came over TLS.
fn line(cookie: &Cookie, now_s: u64, secure: bool) -> String {
    let expires = i64::try_from(now_s.saturating_add(cookie.lives_s)).unwrap_or(i64::MAX);
    let expires = jiff::Timestamp::from_second(expires).unwrap_or(jiff::Timestamp::MAX);
    let expires = expires.strftime("%a, %d %b %Y %H:%M:%S GMT");
    let across = match (cookie.cross_site, secure) {
        (false, _) => "",
        (true, false) => "; SameSite=None",
        (true, true) => "; SameSite=None; Secure",
    };
    format!("{}={}; Expires={expires}; Path=/{across}", cookie.name, cookie.value)
}

/// Add the cookies to an answer.
pub(crate) fn set(headers: &mut HeaderMap, cookies: &[Cookie], now_s: u64, secure: bool) {
    for cookie in cookies {
        if let Ok(value) = HeaderValue::from_str(&line(cookie, now_s, secure)) {
            headers.append(SET_COOKIE, value);
        }
    }
}

/// True if an answer sets a cookie of this name.
pub(crate) fn sets(headers: &HeaderMap, name: &str) -> bool {
    let lines = headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.filter_map(|line| line.split_once('=')).any(|(given, _)| given.trim() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_expire_and_say_what_they_are_for() {
        let cookie =
            |name: &str, cross_site| Cookie { name: name.into(), value: "v".into(), lives_s: 60, cross_site };
        let expires = "Expires=Thu, 01 Jan 1970 00:17:40 GMT; Path=/";
        let table = [
            (cookie("AWSALB", false), true, format!("AWSALB=v; {expires}")),
            (cookie("AWSALBCORS", true), false, format!("AWSALBCORS=v; {expires}; SameSite=None")),
            (cookie("AWSALBCORS", true), true, format!("AWSALBCORS=v; {expires}; SameSite=None; Secure")),
        ];
        for (cookie, secure, expected) in table {
            assert_eq!(line(&cookie, 1000, secure), expected);
        }
        let mut headers = HeaderMap::new();
        headers.insert(SET_COOKIE, HeaderValue::from_static("session=1; Path=/"));
        set(&mut headers, &[cookie("AWSALB", false)], 1000, false);
        assert!(sets(&headers, "session") && sets(&headers, "AWSALB") && !sets(&headers, "sess"));
    }
}
