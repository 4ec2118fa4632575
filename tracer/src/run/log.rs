//! Diagnostics on stderr: our own with `-v`, those of the BPF programs with `-vv`.

use log::{LevelFilter, Metadata, Record};

struct Stderr;

static STDERR: Stderr = Stderr;

impl log::Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let ours =
            record.target().starts_with("offheap") || record.target().starts_with("offheap_bpf");
        // What goes wrong with a connection is told by who asked for it, once.
        let told = ["rustls", "ureq"]
            .iter()
            .any(|network| record.target().starts_with(network));
        let important = record.level() <= log::Level::Warn && !told;
        if self.enabled(record.metadata()) && (ours || important) {
            crate::exit::hint(&format!(
                "{}: {}",
                record.level().as_str().to_lowercase(),
                record.args()
            ));
        }
    }

    fn flush(&self) {}
}

/// Warnings always; more with each `-v`.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Warn,
        _ => LevelFilter::Debug,
    };
    if log::set_logger(&STDERR).is_ok() {
        log::set_max_level(level);
    }
}
