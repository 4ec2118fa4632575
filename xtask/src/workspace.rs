//! Places in the repository. All of them are fixed: a user's `CARGO_TARGET_DIR` moves only what plain cargo builds.

use std::path::{Path, PathBuf};

/// The repository's top folder.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The folder of everything that is built or downloaded.
pub fn target() -> PathBuf {
    root().join("target")
}

/// The crate of the BPF programs, outside of the cargo workspace.
pub fn bpf_crate() -> PathBuf {
    root().join("tracer-ebpf")
}

/// The BPF object of one architecture, where the userspace build embeds it from.
pub fn bpf_object(arch: &str) -> PathBuf {
    target().join("bpf").join(arch).join("offheap.bpf.o")
}

/// Cargo's own folder for the BPF crate.
pub fn bpf_build() -> PathBuf {
    target().join("bpf/build")
}

/// Tools that set-up builds for this repository alone.
pub fn tools() -> PathBuf {
    target().join("tools")
}
