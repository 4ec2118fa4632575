//! What `watch` gives to other systems.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Args;

use super::units;
use crate::fleet::push;
use crate::fleet::push::endpoint::Endpoint;

/// Where metrics and profiles go.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Export")]
pub struct Export {
    /// Serve metrics for Prometheus at http://ADDR/metrics; a port alone is on this host only
    #[arg(long, value_name = "[IP:]PORT", value_parser = listen)]
    pub listen: Option<SocketAddr>,
    /// Post a pprof profile per bundle to Pyroscope (http://host:4040) or Parca (parca+http://host:7070)
    #[arg(long, value_name = "URL")]
    pub push: Option<Endpoint>,
    /// A label of the pushed profiles, besides service_name, hostname and pid; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = push::label, requires = "push")]
    pub label: Vec<(String, String)>,
    /// Most disk that profiles take while the server can't be reached; the oldest go
    #[arg(long, value_name = "SIZE", default_value = "64m", value_parser = units::size, requires = "push")]
    pub spool_bytes: u64,
}

/// `9400`, `127.0.0.1:9400`, `0.0.0.0:9400`, `[::]:9400`, `localhost:9400`.
///
/// # Errors
/// A sentence for the user.
pub fn listen(typed: &str) -> Result<SocketAddr, String> {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if let Ok(port) = typed.parse() {
        return Ok(SocketAddr::new(here, port));
    }
    if let Some(port) = typed
        .strip_prefix("localhost:")
        .and_then(|port| port.parse().ok())
    {
        return Ok(SocketAddr::new(here, port));
    }
    typed.parse().map_err(|_| {
        "not an address: a port as in 9400, or an address of this host and a port as in 10.0.0.7:9400; 0.0.0.0:9400 is all of them"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing but an address that was written out is open to others.
    #[test]
    fn addresses() {
        for (typed, expected) in [
            ("9400", "127.0.0.1:9400"),
            ("localhost:0", "127.0.0.1:0"),
            ("0.0.0.0:9400", "0.0.0.0:9400"),
            ("[::1]:9400", "[::1]:9400"),
        ] {
            assert_eq!(listen(typed).unwrap().to_string(), expected);
        }
        for typed in ["", ":9400", "*:9400", "70000", "host:9400", "10.0.0.7"] {
            assert!(listen(typed).is_err(), "{typed}");
        }
    }
}
