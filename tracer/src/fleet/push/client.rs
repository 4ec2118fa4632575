//! One try to post a profile, and what the answer means.

use std::io::Read;
use std::time::Duration;

use jiff::Timestamp;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::endpoint::Endpoint;
use super::spool::Entry;
use crate::report::clean;

/// Bytes of an answer that are read, for the message.
const MAX_ANSWER: u64 = 300;

/// What became of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    /// The server does not want this profile, and never will.
    Refused(String),
    /// It may work later; not before the time that the server asks for.
    Failed {
        why: String,
        after: Option<Duration>,
    },
}

/// Times that a try may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub connect: Duration,
    /// From the look-up of the name to the end of the answer.
    pub whole: Duration,
}

pub struct Client {
    agent: Agent,
    endpoint: Endpoint,
    authorization: Option<String>,
}

impl Client {
    pub fn new(endpoint: Endpoint, authorization: Option<String>, patience: Patience) -> Client {
        // The certificates that the host trusts, also those of a company's own authority.
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let agent = Agent::config_builder()
            .user_agent(concat!("offheap/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(patience.connect))
            .timeout_global(Some(patience.whole))
            // A period is longer than servers keep a connection.
            .max_idle_connections(0)
            .tls_config(tls)
            .build()
            .new_agent();
        Client {
            agent,
            endpoint,
            authorization,
        }
    }

    /// Posts one profile and waits for the answer.
    pub fn send(&self, entry: &Entry) -> Answer {
        let request = self.endpoint.request(entry);
        let mut post = self
            .agent
            .post(&request.url)
            .header(header::CONTENT_TYPE, request.content_type);
        if let Some(authorization) = &self.authorization {
            post = post.header(header::AUTHORIZATION, authorization);
        }
        match post.send(&*request.body) {
            Ok(response) => judge(response),
            Err(error) => Answer::Failed {
                why: error.to_string(),
                after: None,
            },
        }
    }
}

fn judge(mut response: Response<Body>) -> Answer {
    let status = response.status();
    if status.is_success() {
        return Answer::Taken;
    }
    let after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| retry_after(value.to_str().ok()?, Timestamp::now()));
    let why = why(status, &mut response);
    match status {
        // These are about what was sent. Others may be about the server or our credentials, which can be mended.
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Answer::Refused(why),
        _ => Answer::Failed { why, after },
    }
}

fn why(status: StatusCode, response: &mut Response<Body>) -> String {
    let to = response.headers().get(header::LOCATION);
    let to = to.and_then(|to| to.to_str().ok()).map(str::to_owned);
    let mut said = Vec::new();
    // What could be read of it is enough for a message.
    let _ = response
        .body_mut()
        .as_reader()
        .take(MAX_ANSWER)
        .read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    let said = to.map_or(said.into_owned(), |to| format!("moved to {to}"));
    match said.trim() {
        "" => status.to_string(),
        said => format!("{status}: {}", clean::name(said)),
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3); a date that has passed is now.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(value)
        .ok()?;
    Some(
        date.duration_since(now)
            .try_into()
            .unwrap_or(Duration::ZERO),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both forms of the header are read, a date of the past and nonsense do no harm.
    #[test]
    fn retry_after_forms() {
        let now: Timestamp = "2015-10-21T07:27:30Z".parse().unwrap();
        let seconds = |value| retry_after(value, now).map(|after| after.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), Some(30));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:00:00 GMT"), Some(0));
        assert_eq!(seconds("-5"), None);
        assert_eq!(seconds("soon"), None);
    }
}
