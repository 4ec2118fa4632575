//! Recorded JVMs: stacks with all that a walk of them reads, so that they are walked again on any machine, without a JVM
//! and without root. Tests compare the frames; fuzzing changes what is read.
//!
//! The files are written by `cargo xtask record`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

use crate::stack::{Frame, ModuleId};
use crate::target::modules::{MappedRange, Module, ModuleTable};

use super::Unwinder;
use super::cfi::Rule;
use super::hotspot::code_cache::CodeCache;
use super::hotspot::layout::VmLayout;
use super::hotspot::{HotSpot, JvmVersion};
use super::memory::{Memory, RecordedMemory};
use super::native::NativeUnwinder;

mod description;
pub mod files;
mod image;

pub use description::{Described, Description};
pub use image::{ElfImage, memory_file};

/// A mapped range: start, end, file offset, executable.
pub type Range = (u64, u64, u64, bool);
/// Look-up address, module and file offset of native code, and the rule that its CFI states.
pub type NativeCode = (u64, u32, u64, Option<Rule>);

/// A recorded JVM and some stacks of it, as the file has them.
#[derive(Clone, Serialize, Deserialize)]
pub struct Fixture {
    pub jvm: (String, String),
    pub layout: VmLayout,
    pub code_cache: CodeCache,
    /// What the JVM says about itself; one file for each JVM has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// By their paths.
    pub modules: Vec<(String, Vec<Range>)>,
    pub native: Vec<NativeCode>,
    /// What was read of the JVM's memory, in hexadecimal.
    pub memory: BTreeMap<u64, String>,
    pub stacks: Vec<RecordedStack>,
}

/// One capture, and the frames that were seen to be right.
#[derive(Clone, Serialize, Deserialize)]
pub struct RecordedStack {
    /// By what calls the program came here; empty where there is but one way.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub way: String,
    pub ip: u64,
    pub sp: u64,
    pub fp: u64,
    pub tid: u32,
    pub bytes: String,
    pub frames: Vec<String>,
    /// The Java frames that the JVM told for it, if it was asked: `class.method:line`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<String>,
}

impl RecordedStack {
    /// # Errors
    /// The bytes are not hexadecimal.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        from_hex(&self.bytes)
    }
}

/// A fixture with its numbers decoded, ready for any number of walks.
pub struct Recorded {
    version: JvmVersion,
    pub layout: VmLayout,
    pub code_cache: CodeCache,
    pub described: Option<Described>,
    pub modules: ModuleTable,
    native: Vec<(u64, Frame, Option<Rule>)>,
    /// What was not read when it was recorded can't be read.
    pub memory: RecordedMemory,
    pub stacks: Vec<(RecordedStack, Vec<u8>)>,
}

impl Recorded {
    /// Decodes a file.
    ///
    /// # Errors
    /// It is no fixture.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let mut json = String::new();
        let mut reader = GzDecoder::new(file);
        reader
            .read_to_string(&mut json)
            .context("no gzip file of text")?;
        let fixture: Fixture = serde_json::from_str(&json).context("not a fixture")?;
        let native = fixture
            .native
            .iter()
            .map(|&(address, module, offset, rule)| {
                let module = ModuleId(module);
                (address, Frame::Native { module, offset }, rule)
            });
        let mut memory = RecordedMemory::default();
        for (&address, bytes) in &fixture.memory {
            memory.put(address, &from_hex(bytes)?);
        }
        let stacks = fixture.stacks.iter().map(|stack| {
            let bytes = stack.bytes()?;
            Ok((stack.clone(), bytes))
        });
        Ok(Recorded {
            version: JvmVersion {
                name: fixture.jvm.0.clone(),
                version: fixture.jvm.1.clone(),
            },
            described: fixture
                .description
                .as_ref()
                .map(Description::decode)
                .transpose()?,
            modules: modules(&fixture)?,
            native: native.collect(),
            memory,
            stacks: stacks.collect::<Result<_>>()?,
            layout: fixture.layout,
            code_cache: fixture.code_cache,
        })
    }

    /// The JVM, of which no code has been looked at yet.
    pub fn hotspot(&self) -> HotSpot {
        HotSpot::new(
            self.version.clone(),
            self.layout.clone(),
            self.code_cache.clone(),
        )
    }

    /// An unwinder of this JVM, as `hotspot` knows it, that has walked nothing yet and reads `memory`.
    pub fn unwinder_of<M: Memory>(&self, memory: M, hotspot: HotSpot) -> Unwinder<M> {
        let mut unwinder = Unwinder::new(memory);
        unwinder.native = NativeUnwinder::from_known(self.native.clone());
        unwinder.jvm = Some(Ok(hotspot));
        unwinder
    }
}

fn modules(fixture: &Fixture) -> Result<ModuleTable> {
    let nothing = Arc::new(File::open("/dev/null").context("cannot open /dev/null")?);
    let module = |(index, (path, ranges)): (usize, &(String, Vec<Range>))| Module {
        id: ModuleId(index as u32),
        path: PathBuf::from(path),
        deleted: false,
        device: (0, 0),
        inode: 0,
        build_id: None,
        file: Arc::clone(&nothing),
        ranges: ranges
            .iter()
            .map(|&(start, end, file_offset, executable)| MappedRange {
                start,
                end,
                file_offset,
                executable,
            })
            .collect(),
    };
    let modules = fixture.modules.iter().enumerate().map(module);
    Ok(ModuleTable::from_modules(modules.collect()))
}

#[cfg(test)]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    let pair = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    text.as_bytes().chunks(2).map(pair).collect()
}
