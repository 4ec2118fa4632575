//! One request, one answer.

use std::net::IpAddr;

use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue,
};
use hyper::{Method, Request, Response, StatusCode};

use super::body::Sent;
use super::list;
use crate::bundle::{FORMATS, Shelf};
use crate::report::Format;

/// What our own pages may do: nothing but look as they do.
const OWN_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
/// A flame graph has inferno's script in it.
const DRAWING_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// Answers a request. On a loopback address only those who call us by an address or `localhost` are answered.
pub(super) fn answer<B>(request: &Request<B>, shelf: &Shelf, loopback: bool) -> Response<Sent> {
    if request.method() != Method::GET {
        let mut response = words(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    if loopback && !calls_us_local(request) {
        return words(
            StatusCode::FORBIDDEN,
            "ask for this address, not for another name of it",
        );
    }
    match request.uri().path() {
        "/" => match shelf.bundles() {
            Ok(bundles) => page(StatusCode::OK, list::page(&bundles)),
            Err(_) => words(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the folder cannot be read",
            ),
        },
        path => file(path, shelf)
            .unwrap_or_else(|| words(StatusCode::NOT_FOUND, "there is no such file of a bundle")),
    }
}

/// A page of another site may have had its name pointed to this address; its requests bear that name.
fn calls_us_local<B>(request: &Request<B>) -> bool {
    let Some(host) = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
    else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// `/BUNDLE/FILE`, or `/FILE` where the folder is a bundle itself.
fn file(path: &str, shelf: &Shelf) -> Option<Response<Sent>> {
    let path = path.strip_prefix('/')?;
    let (bundle, name) = path.rsplit_once('/').unwrap_or(("", path));
    let format = FORMATS
        .into_iter()
        .find(|format| format.file_name() == name)?;
    let (file, left) = shelf.file(&list::decoded(bundle)?, format)?;
    let mut response = Response::new(Sent::File { file, left });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(format)));
    // report.html brings a policy of its own that is as strict.
    if format == Format::Svg {
        headers.insert(
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(DRAWING_POLICY),
        );
    }
    Some(common(response))
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::Html => "text/html; charset=utf-8",
        Format::Svg => "image/svg+xml",
        Format::Json | Format::Speedscope => "application/json",
        Format::Pprof => "application/octet-stream",
        Format::Text | Format::Folded => "text/plain; charset=utf-8",
    }
}

fn words(status: StatusCode, words: &str) -> Response<Sent> {
    let mut response = Response::new(Sent::page(format!("{words}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    common(response)
}

fn page(status: StatusCode, html: String) -> Response<Sent> {
    let mut response = words(status, "");
    *response.body_mut() = Sent::page(html);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(OWN_POLICY),
    );
    response
}

fn common(mut response: Response<Sent>) -> Response<Sent> {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    response
}
