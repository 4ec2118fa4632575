//! Where metrics and profiles go, besides the bundles.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::cli;
use crate::fleet::push;
use crate::fleet::push::endpoint::Endpoint;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// Metrics are served here.
    pub listen: Option<SocketAddr>,
    pub push: Option<Push>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    pub endpoint: Endpoint,
    pub labels: BTreeMap<String, String>,
    /// Most bytes that wait on disk.
    pub spool_bytes: u64,
}

impl From<&cli::Export> for Export {
    fn from(typed: &cli::Export) -> Export {
        Export {
            listen: typed.listen,
            push: typed.push.clone().map(|endpoint| Push {
                endpoint,
                labels: push::labels(&typed.label),
                spool_bytes: typed.spool_bytes,
            }),
        }
    }
}
