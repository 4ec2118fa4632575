//! What the BPF programs say about themselves, through aya-log. Off, the verifier removes it from the programs.

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

/// From this verbosity on the programs speak.
const VERBOSE: u8 = 2;

/// The level compiled into the programs: 0 is off, 4 is `debug` (aya-log-common's `Level`).
pub fn level(verbosity: u8) -> u8 {
    if verbosity >= VERBOSE { 4 } else { 0 }
}

/// Passes the programs' messages on to the `log` crate until it is dropped.
pub struct Forwarder(JoinHandle<()>);

impl Forwarder {
    /// Must be called within a tokio runtime.
    pub fn start(ebpf: &mut Ebpf, verbosity: u8) -> Option<Forwarder> {
        if verbosity < VERBOSE {
            return None;
        }
        let logger = EbpfLogger::init(ebpf).map_err(anyhow::Error::from);
        // SAFETY: the logger owns its descriptor and keeps it for as long as it lives.
        match logger.and_then(|logger| Ok(unsafe { AsyncFd::register(logger) }?)) {
            Ok(logger) => Some(Forwarder(tokio::spawn(forward(logger)))),
            Err(error) => {
                ::log::warn!("no messages from the BPF programs: {error}");
                None
            }
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn forward<T: ::log::Log>(mut logger: AsyncFd<EbpfLogger<T>>) {
    while let Ok(mut guard) = logger.readable_mut().await {
        guard.get_inner_mut().flush();
        guard.clear_ready();
    }
}
