//! What this kernel offers, as far as the programs need or use it.

use std::fmt;
use std::io;
use std::path::Path;

use aya::maps::MapType;
use aya::programs::{ProgramError, ProgramType};
use aya::sys::{SyscallError, is_helper_supported, is_map_supported};
use aya_obj::generated::bpf_func_id;

use super::links;

/// Each with the kernel version that brought it.
#[derive(Debug)]
pub struct Features {
    /// Events reach userspace through it: Linux 5.8. Needed.
    pub ring_buffer: Support,
    /// The programs learn by it which attach point fired: Linux 5.15. Needed.
    pub attach_cookie: Support,
    /// Attaches without writing to tracefs: Linux 4.17. Needed where there are no multi-uprobes.
    pub uprobe_pmu: Support,
    /// Attaches and detaches many probes at once: Linux 6.10, or 6.6 with its fixes.
    pub uprobe_multi: Support,
    /// Spares the trap at returns that nobody needs: Linux 6.13.
    pub uprobe_session: Support,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Support {
    Yes,
    No,
    /// The question could not be put; mostly for lack of privileges.
    Unknown(String),
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Support::Yes => f.write_str("yes"),
            Support::No => f.write_str("no"),
            Support::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

/// Asks the kernel. Takes about a millisecond; attaches nothing.
pub fn features() -> Features {
    let cookie = bpf_func_id::BPF_FUNC_get_attach_cookie;
    Features {
        ring_buffer: support(is_map_supported(MapType::RingBuf)),
        attach_cookie: support(is_helper_supported(ProgramType::KProbe, cookie)),
        uprobe_pmu: support(Path::new("/sys/bus/event_source/devices/uprobe/type").try_exists()),
        uprobe_multi: support(links::multi_works()),
        uprobe_session: support(links::sessions_work()),
    }
}

fn support<E: Reason>(answer: Result<bool, E>) -> Support {
    match answer {
        Ok(true) => Support::Yes,
        Ok(false) => Support::No,
        Err(error) => Support::Unknown(error.reason()),
    }
}

/// An error in a few words.
trait Reason {
    fn reason(&self) -> String;
}

impl Reason for io::Error {
    fn reason(&self) -> String {
        match self.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => "not permitted without privileges".into(),
            _ => self.to_string(),
        }
    }
}

impl Reason for SyscallError {
    fn reason(&self) -> String {
        self.io_error.reason()
    }
}

impl Reason for ProgramError {
    fn reason(&self) -> String {
        match self {
            ProgramError::SyscallError(error) => error.reason(),
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refusal is no "no": without privileges nobody knows what the kernel has.
    #[test]
    fn a_refusal_is_unknown() {
        let refused = io::Error::from_raw_os_error(libc::EPERM);
        let call = "bpf_map_create";
        let error = SyscallError {
            call,
            io_error: refused,
        };
        let answer = support(Err::<bool, _>(ProgramError::from(error)));
        assert_eq!(
            answer.to_string(),
            "unknown: not permitted without privileges"
        );
    }

    /// Asking panics for nobody, whatever their privileges.
    #[test]
    fn anybody_may_ask() {
        let _ = features();
    }
}
