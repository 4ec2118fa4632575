//! Multi-uprobes: one link attaches a program to many places of a file, and one close detaches it from all.
//!
//! aya 0.14 cannot load a program for such links: they take one whose expected attach type says so. So aya makes the
//! maps, and the programs are taken from a second reading of the object, by aya's own parser, and relocated to them.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use aya::Ebpf;
use aya::maps::Map;
use aya_obj::Object;

use super::errors;
use super::sys::{self, Mode, Place};

/// Where the verifier writes. Linux 6.4 and later keep the end of what does not fit.
const LOG_BYTES: usize = 1 << 20;

/// The programs of the object, loaded when they are first wanted.
pub struct Programs {
    object: Object,
    btf: Option<OwnedFd>,
    loaded: HashMap<&'static str, OwnedFd>,
    /// The instructions name the maps by these numbers.
    _maps: Vec<OwnedFd>,
}

impl Programs {
    /// Reads `bytes`, the object whose maps `ebpf` holds; all of them must still be in there.
    pub fn new(ebpf: &Ebpf, bytes: &[u8]) -> Result<Programs> {
        let mut object = Object::parse(bytes).context("the BPF object makes no sense")?;
        let btf = load_btf(&mut object);
        let maps = relocate(&mut object, ebpf)?;
        object.sanitize_functions(aya::features());
        Ok(Programs {
            object,
            btf,
            loaded: HashMap::new(),
            _maps: maps,
        })
    }

    /// Loads a program unless it is.
    pub fn load(&mut self, name: &'static str, verbosity: u8) -> Result<()> {
        if !self.loaded.contains_key(name) {
            let program = self.program(name, verbosity)?;
            self.loaded.insert(name, program);
        }
        Ok(())
    }

    fn program(&self, name: &str, verbosity: u8) -> Result<OwnedFd> {
        let found = self.object.programs.get(name);
        let function = found.and_then(|found| self.object.functions.get(&found.function_key()));
        let (found, function) = found
            .zip(function)
            .with_context(|| format!("the BPF object has no program {name}"))?;
        let lines = self.btf.as_ref().map(|btf| sys::Lines {
            btf: btf.as_fd(),
            functions: function.func_info.func_info_bytes(),
            function_size: function.func_info_rec_size,
            lines: function.line_info.line_info_bytes(),
            line_size: function.line_info_rec_size,
        });
        let program = sys::Program {
            name,
            mode: mode(name),
            license: &found.license,
            instructions: &function.instructions,
            lines,
        };
        load(&program, verbosity)
    }

    /// The program, once it is loaded.
    pub fn loaded(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.loaded.get(name).map(|program| program.as_fd())
    }

    /// Attaches a loaded program to all `places` or to none.
    pub fn attach(
        &self,
        name: &str,
        file: &Path,
        places: &[Place],
        pid: i32,
    ) -> io::Result<OwnedFd> {
        let program = self.loaded.get(name).ok_or(io::ErrorKind::NotFound)?;
        let file = CString::new(file.as_os_str().as_bytes())?;
        sys::link_uprobes(program.as_fd(), mode(name), &file, places, pid)
    }
}

/// The name says it; sessions have no section of their own for aya-obj.
fn mode(program: &str) -> Mode {
    match program.rsplit('_').next() {
        Some("return") => Mode::Return,
        Some("session") => Mode::Session,
        _ => Mode::Entry,
    }
}

fn load(program: &sys::Program<'_>, verbosity: u8) -> Result<OwnedFd> {
    sys::load_program(program, &mut []).map_err(|error| {
        let mut log = vec![0; LOG_BYTES];
        // Again, for the log: it costs too much to ask for it before something is wrong.
        let _ = sys::load_program(program, &mut log);
        errors::rejected(program.name, &error, &text(&log), verbosity)
    })
}

/// Line information for the verifier's log; the programs do without where the kernel does not take it.
fn load_btf(object: &mut Object) -> Option<OwnedFd> {
    let features = aya::features().btf()?;
    let btf = object.fixup_and_sanitize_btf(features).ok()??;
    sys::load_btf(&btf.to_bytes()).ok()
}

/// Puts the descriptors of aya's maps into the instructions.
fn relocate(object: &mut Object, ebpf: &Ebpf) -> Result<Vec<OwnedFd>> {
    // As aya does: sections with code that is called, not maps.
    let code = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    let declared = std::mem::take(&mut object.maps);
    let mut maps = Vec::new();
    for (name, declaration) in &declared {
        let map = ebpf
            .map(name)
            .with_context(|| format!("the BPF map {name} is gone"))?;
        let map = descriptor(map)
            .and_then(|map| Ok(map.try_clone_to_owned()?))
            .with_context(|| format!("the BPF map {name} cannot be used"))?;
        maps.push((name.as_str(), map, declaration));
    }
    let by_number = maps
        .iter()
        .map(|(name, map, declaration)| (*name, map.as_raw_fd(), *declaration));
    object.relocate_maps(by_number, &code)?;
    object.relocate_calls(&code)?;
    Ok(maps.into_iter().map(|(_, map, _)| map).collect())
}

fn descriptor(map: &Map) -> Result<BorrowedFd<'_>> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::RingBuf(data) => Ok(data.fd().as_fd()),
        _ => Err(anyhow!("its kind is not known here")),
    }
}

/// What the verifier wrote, up to the terminating zero.
fn text(log: &[u8]) -> String {
    let written = log.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(written).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that the verifier does not take comes back with what the verifier said about it.
    #[test]
    fn a_rejection_shows_the_verifiers_log() {
        // SAFETY: it takes nothing and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("skipped: loading programs needs root");
            return;
        }
        let program = sys::Program {
            name: "no_result",
            mode: Mode::Entry,
            license: c"GPL",
            instructions: &sys::EMPTY[1..],
            lines: None,
        };
        let message = load(&program, 0).map(drop).unwrap_err().to_string();
        assert!(message.contains("no_result"), "{message}");
        assert!(message.contains("R0 !read_ok"), "{message}");
    }
}
