//! Requests that are no requests of ours, told by their head alone: method, address, Host and declared media type.
//!
//! Each class of routes has the methods and media types that any route of it takes; the routes themselves are stricter. Costs
//! one pass over the path, and a copy where it is percent-encoded.

use std::borrow::Cow;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, Version, header};

use super::{Refusal, scanners};

/// Points for what only a hostile program sends.
const HOSTILE: u32 = 20;
/// Points for an address that leads nowhere: anybody mistypes.
const LOST: u32 = 1;

/// What a path belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// `/api/`: JSON; `/twirp/`, which says itself what it takes.
    Api,
    /// `/oauth/`: forms, or JSON of our own page.
    Oauth,
    /// `/rtc`: WebSockets.
    Signal,
    /// `/whip/`, `/whep/`: session descriptions.
    Media,
    /// `/healthz`, `/readyz`, `/metrics`: machines that watch.
    Watch,
    /// Pages and their files, and whatever is not there.
    Page,
}

impl Class {
    /// The class of a path as it was sent.
    #[must_use]
    pub fn of(path: &str) -> Self {
        match path.split('/').nth(1).unwrap_or_default() {
            "api" | "twirp" => Self::Api,
            "oauth" => Self::Oauth,
            "rtc" => Self::Signal,
            "whip" | "whep" => Self::Media,
            "healthz" | "readyz" | "metrics" => Self::Watch,
            _ => Self::Page,
        }
    }

    /// The methods any route of the class takes, as an `Allow` header says it.
    #[must_use]
    pub const fn allow(self) -> &'static str {
        match self {
            Self::Api | Self::Media => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            Self::Oauth => "GET, HEAD, POST, OPTIONS",
            Self::Signal | Self::Watch | Self::Page => "GET, HEAD, OPTIONS",
        }
    }

    const fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Api => &["application/json"],
            Self::Oauth => &["application/x-www-form-urlencoded", "application/json"],
            Self::Media => &["application/sdp", "application/trickle-ice-sdpfrag"],
            Self::Signal | Self::Watch | Self::Page => &[],
        }
    }

    fn takes(self, method: &Method) -> bool {
        self.allow().split(", ").any(|known| known == method.as_str())
    }

    /// Points for an answer that there is nothing at this address. Old files of a page that was updated, and what browsers ask
    /// for by themselves, cost nothing; nor does the API: a program with a mistake shares its address with people.
    #[must_use]
    pub fn points_for_nothing(self, path: &str) -> u32 {
        const BY_THEMSELVES: [&str; 6] =
            ["/assets/", "/favicon", "/apple-touch-icon", "/robots.txt", "/sitemap", "/.well-known/"];
        let asked_for = !BY_THEMSELVES.iter().any(|start| path.starts_with(start));
        if self == Self::Page && asked_for { LOST } else { 0 }
    }
}

/// Why a request is refused, and what that costs its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// As counted.
    pub reason: Refusal,
    /// For `Guard::mischief_of`.
    pub points: u32,
}

/// Looks at the head of a request.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn head(method: &Method, uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), Verdict> {
    let class = Class::of(uri.path());
    // Programs with mistakes use the API; nothing but a scanner looks for files.
    let points = if class == Class::Page { HOSTILE } else { LOST };
    let hostile = |reason| Verdict { reason, points };
    if !is_one_host(uri, version, headers) {
        return Err(Verdict { reason: Refusal::Host, points: HOSTILE });
    }
    path(uri.path(), class).map_err(hostile)?;
    if !class.takes(method) {
        return Err(Verdict { reason: Refusal::Method, points: 0 });
    }
    let mut declared = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, more) = (declared.next(), declared.next().is_some());
    let fits = |value: &HeaderValue| {
        class.media_types().iter().any(|known| essence(value).eq_ignore_ascii_case(known))
    };
    // RoomService refuses other types in Twirp's own words, before it reads a body.
    let says_itself = class == Class::Api && uri.path().starts_with("/twirp/");
    if has_body(headers) && !says_itself && (more || first.is_some_and(|value| !fits(value))) {
        return Err(Verdict { reason: Refusal::ContentType, points: 0 });
    }
    Ok(())
}

/// One name of this server, the same wherever it is said (RFC 9112 section 3.2).
fn is_one_host(uri: &Uri, version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, more) = (hosts.next(), hosts.next().is_some());
    if more {
        return false;
    }
    let Some(host) = first else {
        // HTTP/2 names it in the target; HTTP/1.0 need not.
        return version != Version::HTTP_11;
    };
    let named = host.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
    let Some(named) = named.filter(|named| !named.as_str().contains('@')) else { return false };
    uri.authority().is_none_or(|target| target.as_str().eq_ignore_ascii_case(named.as_str()))
}

/// A path that means one thing to everybody who reads it.
fn path(sent: &str, class: Class) -> Result<(), Refusal> {
    let decoded = decode(sent);
    // Also what is longer than it needs to be (overlong forms), as servers used to be fooled with.
    let Ok(text) = std::str::from_utf8(&decoded) else { return Err(Refusal::PathEncoding) };
    if text.chars().any(char::is_control) || text.contains('\\') || decode(text).as_ref() != text.as_bytes() {
        return Err(Refusal::Path);
    }
    if text.split('/').any(|part| part == ".." || part == ".") {
        return Err(Refusal::Traversal);
    }
    if class == Class::Page && scanners::is_wanted_by(text) {
        return Err(Refusal::Scanner);
    }
    Ok(())
}

/// Takes percent-encoding away, once.
fn decode(path: &str) -> Cow<'_, [u8]> {
    if !path.contains('%') {
        return Cow::Borrowed(path.as_bytes());
    }
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = path.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    Cow::Owned(decoded)
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

fn essence(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn verdict(method: &str, uri: &str, headers: &[(&'static str, &'static str)]) -> Option<Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let uri: Uri = uri.parse().expect("an address");
        head(&method, &uri, Version::HTTP_11, &map).err().map(|verdict| verdict.reason)
    }

    const HOST: (&str, &str) = ("host", "meet.example.org:7880");

    #[test]
    fn honest_requests_pass() {
        for (method, uri) in [
            ("GET", "/"),
            ("GET", "/j/1234567890"),
            ("GET", "/api/v1/meetings?cursor=AAA%3D%25&limit=20"),
            ("PATCH", "/api/v1/meetings/meeting_1"),
            ("GET", "/rtc?access_token=a.b.c&sdk=js&x=%2e%2e%5c%00"),
            ("DELETE", "/whip/meeting_1/session_2"),
            ("GET", "/assets/a%20b-%E6%BC%A2.js"),
            ("GET", "http://MEET.example.org:7880/healthz"),
            ("GET", "/api/v1/meetings/100%25"),
        ] {
            assert_eq!(verdict(method, uri, &[HOST]), None, "{method} {uri}");
        }
        let json = [HOST, ("content-type", "application/json; charset=utf-8"), ("content-length", "2")];
        assert_eq!(verdict("POST", "/api/v1/meetings", &json), None);
        // The route itself knows what is left out, and an empty body is of no type.
        assert_eq!(verdict("POST", "/api/v1/meetings", &[HOST, ("content-length", "2")]), None);
        assert_eq!(
            verdict("POST", "/api/v1/x", &[HOST, ("content-type", "text/plain"), ("content-length", "0")]),
            None
        );
    }

    #[test]
    fn what_reads_differently_to_different_servers_is_refused() {
        for (uri, reason) in [
            ("/assets/../index.html", Refusal::Traversal),
            ("/assets/%2e%2E%2findex.html", Refusal::Traversal),
            ("/a/./b", Refusal::Traversal),
            ("/%252e%252e/etc/passwd", Refusal::Path),
            ("/a%5c..%5cb", Refusal::Path),
            ("/a%00.html", Refusal::Path),
            ("/a%0d%0ax", Refusal::Path),
            ("/%c0%ae%c0%ae/x", Refusal::PathEncoding),
            ("/api/v1/meetings/%FF", Refusal::PathEncoding),
            ("/.env", Refusal::Scanner),
            ("/%2egit/config", Refusal::Scanner),
            ("/wp-login.php", Refusal::Scanner),
        ] {
            assert_eq!(verdict("GET", uri, &[HOST]), Some(reason), "{uri}");
        }
        // The API has no files, and names in it are whatever people call things.
        assert_eq!(verdict("GET", "/api/v1/meetings/.env", &[HOST]), None);
    }

    #[test]
    fn a_host_is_named_once_and_the_same_everywhere() {
        assert_eq!(verdict("GET", "/", &[]), Some(Refusal::Host));
        assert_eq!(verdict("GET", "/", &[HOST, HOST]), Some(Refusal::Host));
        assert_eq!(verdict("GET", "/", &[("host", "user@meet.example.org")]), Some(Refusal::Host));
        assert_eq!(verdict("GET", "/", &[("host", "a b")]), Some(Refusal::Host));
        assert_eq!(verdict("GET", "http://elsewhere.example/", &[HOST]), Some(Refusal::Host));
        let none = HeaderMap::new();
        assert_eq!(head(&Method::GET, &Uri::from_static("/"), Version::HTTP_10, &none), Ok(()));
        assert_eq!(head(&Method::GET, &Uri::from_static("http://a/"), Version::HTTP_2, &none), Ok(()));
    }

    #[test]
    fn each_class_has_its_methods_and_media_types() {
        for (method, uri) in [
            ("TRACE", "/"),
            ("BREW", "/api/v1/meetings"),
            ("POST", "/"),
            ("POST", "/healthz"),
            ("TRACE", "/whip/meeting_1"),
            ("POST", "/rtc"),
            ("DELETE", "/oauth/token"),
        ] {
            assert_eq!(verdict(method, uri, &[HOST]), Some(Refusal::Method), "{method} {uri}");
        }
        for (uri, media_type) in [
            ("/api/v1/meetings", "text/plain"),
            ("/api/v1/meetings", "multipart/form-data; boundary=x"),
            ("/oauth/token", "application/xml"),
            ("/whip/meeting_1", "application/json"),
        ] {
            let headers = [HOST, ("content-type", media_type), ("content-length", "3")];
            assert_eq!(verdict("POST", uri, &headers), Some(Refusal::ContentType), "{uri}");
        }
        let other = [HOST, ("content-type", "text/plain"), ("content-length", "3")];
        assert_eq!(verdict("POST", "/twirp/livekit.RoomService/ListRooms", &other), None);
        let twice = [
            HOST,
            ("content-type", "application/json"),
            ("content-type", "text/plain"),
            ("transfer-encoding", "chunked"),
        ];
        assert_eq!(verdict("POST", "/api/v1/meetings", &twice), Some(Refusal::ContentType));
    }
}
