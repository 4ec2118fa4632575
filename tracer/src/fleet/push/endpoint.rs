//! Where profiles go, and in which form: Pyroscope's `/ingest` and Parca's `WriteRaw`, both plain HTTP.
//!
//! Facts: Pyroscope takes a pprof profile as the body of `POST /ingest?format=pprof` and the labels in `name`, as
//! `service{key=value,…}` (grafana/pyroscope, pkg/ingester/pyroscope/ingest_handler.go, 2.0). Parca answers its gRPC
//! service as JSON below `/api` (parca-dev/parca, pkg/server/server.go): `POST /profiles/writeraw`, bytes in base64
//! (proto/parca/profilestore/v1alpha1/profilestore.proto).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use ureq::http::Uri;

use super::spool::Entry;

/// What kind of server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Pyroscope,
    Parca,
}

/// A server that takes profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub protocol: Protocol,
    /// Without a query.
    pub url: String,
}

/// What is posted.
#[derive(Debug)]
pub struct Request<'a> {
    pub url: String,
    pub content_type: &'static str,
    pub body: std::borrow::Cow<'a, [u8]>,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(typed: &str) -> Result<Endpoint, String> {
        let (protocol, url) = match typed.split_once('+') {
            Some(("pyroscope", url)) => (Protocol::Pyroscope, url),
            Some(("parca", url)) => (Protocol::Parca, url),
            _ => (Protocol::Pyroscope, typed),
        };
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("not a URL ({error}): as in http://pyroscope:4040"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(
                "begins with http:// or https://, for Parca with parca+http:// or parca+https://"
                    .to_owned(),
            );
        }
        if uri
            .authority()
            .is_some_and(|host| host.as_str().contains('@'))
        {
            return Err("a password in a URL can be seen by every user of this host: put `Basic …` or `Bearer …` into the environment variable OFFHEAP_PUSH_AUTHORIZATION".to_owned());
        }
        if uri
            .authority()
            .is_none_or(|host| host.as_str().ends_with(':'))
        {
            return Err("there is no port after the colon".to_owned());
        }
        if uri.query().is_some() || url.contains('#') {
            return Err("give the server's URL alone; labels go to --label".to_owned());
        }
        Ok(Endpoint {
            url: complete(url, protocol),
            protocol,
        })
    }
}

/// The URL with the path of the protocol, unless it has that already.
fn complete(url: &str, protocol: Protocol) -> String {
    let url = url.trim_end_matches('/');
    let (path, end) = match protocol {
        Protocol::Pyroscope => ("/ingest", "/ingest"),
        Protocol::Parca => ("/api/profiles/writeraw", "/profiles/writeraw"),
    };
    if url.ends_with(end) {
        url.to_owned()
    } else {
        format!("{url}{path}")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Endpoint {
    /// The profile as this server takes it.
    pub fn request<'a>(&self, entry: &'a Entry) -> Request<'a> {
        match self.protocol {
            Protocol::Pyroscope => Request {
                url: format!(
                    "{}?format=pprof&spyName=offheap&from={}&until={}&name={}",
                    self.url,
                    entry.about.from,
                    entry.about.until,
                    utf8_percent_encode(&pyroscope_name(entry), NON_ALPHANUMERIC)
                ),
                content_type: "application/octet-stream",
                body: entry.profile.as_slice().into(),
            },
            Protocol::Parca => Request {
                url: self.url.clone(),
                content_type: "application/json",
                body: parca_body(entry).into_bytes().into(),
            },
        }
    }
}

/// `service{key=value,…}`.
fn pyroscope_name(entry: &Entry) -> String {
    let plain = |text: &str| text.replace(['{', '}', ',', '=', '"'], "_");
    let labels: Vec<String> = entry
        .about
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    format!("{}{{{}}}", plain(&entry.about.service), labels.join(","))
}

/// `memory` is what Parca and Pyroscope call profiles of memory in use.
fn parca_body(entry: &Entry) -> String {
    let mut labels: BTreeMap<&str, &str> = [
        ("__name__", "memory"),
        ("service_name", entry.about.service.as_str()),
    ]
    .into();
    for (key, value) in &entry.about.labels {
        labels.entry(key).or_insert(value);
    }
    let labels: Vec<_> = labels
        .into_iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    json!({
        "series": [{
            "labels": { "labels": labels },
            "samples": [{ "rawProfile": STANDARD.encode(&entry.profile) }],
        }],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::push::spool::About;

    fn entry() -> Entry {
        Entry {
            about: About {
                service: "com.acme.Main {x}".to_owned(),
                labels: [("env", "a,b=c"), ("pid", "42")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
                from: 100,
                until: 160,
            },
            profile: vec![0x1f, 0x8b, 0, 255],
        }
    }

    /// A server's URL is completed by its protocol's path; a complete one is left as it is.
    #[test]
    fn urls() {
        for (typed, protocol, url) in [
            ("http://h:4040", Protocol::Pyroscope, "http://h:4040/ingest"),
            ("https://h/p/", Protocol::Pyroscope, "https://h/p/ingest"),
            (
                "pyroscope+http://h/ingest",
                Protocol::Pyroscope,
                "http://h/ingest",
            ),
            (
                "parca+http://h:7070",
                Protocol::Parca,
                "http://h:7070/api/profiles/writeraw",
            ),
            (
                "parca+https://h/x/profiles/writeraw",
                Protocol::Parca,
                "https://h/x/profiles/writeraw",
            ),
        ] {
            let url = url.to_owned();
            assert_eq!(typed.parse(), Ok(Endpoint { protocol, url }), "{typed}");
        }
    }

    /// What can't be meant is refused with what to type instead, a password without repeating it.
    #[test]
    fn refused_urls() {
        for (typed, expected) in [
            ("h:4040", "http://"),
            ("grpc+http://h", "http://"),
            ("ftp://h", "http://"),
            ("http://", "http://"),
            ("http://h:", "port"),
            ("http://me:secret@h", "OFFHEAP_PUSH_AUTHORIZATION"),
            ("http://h/ingest?name=x", "--label"),
        ] {
            let refused = typed.parse::<Endpoint>().unwrap_err();
            assert!(refused.contains(expected), "{typed}: {refused}");
            assert!(!refused.contains("secret"));
        }
    }

    /// Pyroscope gets the profile as it is, the labels in its own form, and nothing of a value can become another label.
    #[test]
    fn pyroscope() {
        let endpoint: Endpoint = "http://h".parse().unwrap();
        let entry = entry();
        let request = endpoint.request(&entry);
        assert_eq!(*request.body, entry.profile[..]);
        assert_eq!(
            request.url,
            "http://h/ingest?format=pprof&spyName=offheap&from=100&until=160&\
             name=com%2Eacme%2EMain%20%5Fx%5F%7Benv%3Da%5Fb%5Fc%2Cpid%3D42%7D"
        );
    }

    /// Parca gets JSON with all labels and the profile in base64.
    #[test]
    fn parca() {
        let endpoint: Endpoint = "parca+http://h".parse().unwrap();
        let entry = entry();
        let body: serde_json::Value =
            serde_json::from_slice(&endpoint.request(&entry).body).unwrap();
        let series = &body["series"][0];
        assert_eq!(series["samples"][0]["rawProfile"], "H4sA/w==");
        let label = |index: usize| {
            let label = &series["labels"]["labels"][index];
            (
                label["name"].as_str().unwrap(),
                label["value"].as_str().unwrap(),
            )
        };
        assert_eq!(label(0), ("__name__", "memory"));
        assert_eq!(label(1), ("env", "a,b=c"));
        assert_eq!(label(3), ("service_name", "com.acme.Main {x}"));
    }
}
