//! Stacks of a JVM, recorded with all that a walk reads: replayed on any machine, without a JVM and without root.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::stack::{Frame, MethodTable, ModuleId};
use crate::target::modules::{MappedRange, Module, ModuleTable};
use crate::unwind::cfi::Rule;
use crate::unwind::hotspot::code_cache::CodeCache;
use crate::unwind::hotspot::layout::VmLayout;
use crate::unwind::hotspot::{HotSpot, JvmVersion};
use crate::unwind::memory::{ProcessMemory, RecordedMemory, Recorder};
use crate::unwind::native::NativeUnwinder;
use crate::unwind::{Registers, StackCapture, Unwinder};

use super::describe;

/// A mapped range: start, end, file offset, executable.
type Range = (u64, u64, u64, bool);
/// Look-up address, module and file offset of native code, and the rule that its CFI states.
type NativeCode = (u64, u32, u64, Option<Rule>);

/// A recorded JVM and some stacks of it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Fixture {
    pub jvm: (String, String),
    pub layout: VmLayout,
    pub code_cache: CodeCache,
    /// By their paths.
    modules: Vec<(String, Vec<Range>)>,
    native: Vec<NativeCode>,
    /// What was read of the JVM's memory, in hexadecimal.
    memory: BTreeMap<u64, String>,
    pub stacks: Vec<RecordedStack>,
}

/// One capture, and the frames that were seen to be right.
#[derive(Clone, Serialize, Deserialize)]
pub struct RecordedStack {
    pub ip: u64,
    pub sp: u64,
    pub fp: u64,
    pub tid: u32,
    pub bytes: String,
    pub frames: Vec<String>,
}

impl RecordedStack {
    pub fn bytes(&self) -> Vec<u8> {
        from_hex(&self.bytes)
    }

    pub fn capture<'a>(&self, bytes: &'a [u8]) -> StackCapture<'a> {
        StackCapture {
            registers: Registers {
                ip: self.ip,
                sp: self.sp,
                fp: self.fp,
                lr: 0,
            },
            ip_is_return_address: false,
            bytes,
            truncated: false,
            tid: self.tid,
            replaced: &[],
            anchor: None,
        }
    }
}

impl Fixture {
    /// Walks `stacks` once more, with empty caches, and records what that reads.
    #[cfg(target_arch = "x86_64")]
    pub fn record(
        modules: &ModuleTable,
        unwinder: &mut Unwinder<Recorder<ProcessMemory>>,
        stacks: &[super::stops::Copy],
    ) -> Self {
        let (version, layout, code_cache) =
            unwinder.jvm.as_ref().unwrap().as_ref().unwrap().parts();
        unwinder.memory.forget();
        unwinder.jvm = Some(Ok(HotSpot::new(
            version.clone(),
            layout.clone(),
            code_cache.clone(),
        )));
        unwinder.native = NativeUnwinder::default();
        unwinder.methods = MethodTable::default();
        let stacks = stacks.iter().map(|stack| {
            let walked = unwinder.unwind(modules, &stack.capture());
            RecordedStack {
                ip: stack.registers.ip,
                sp: stack.registers.sp,
                fp: stack.registers.fp,
                tid: stack.tid as u32,
                bytes: to_hex(&stack.bytes),
                frames: describe(&walked, unwinder.methods(), modules),
            }
        });
        let stacks = stacks.collect();
        let native = unwinder
            .native
            .known()
            .into_iter()
            .filter_map(|(address, frame, rule)| match frame {
                Frame::Native { module, offset } => Some((address, module.0, offset, rule)),
                _ => None,
            });
        let mut native: Vec<_> = native.collect();
        native.sort_by_key(|(address, ..)| *address);
        let ranges = |module: &Module| {
            let ranges = module
                .ranges
                .iter()
                .map(|range| (range.start, range.end, range.file_offset, range.executable));
            (module.path.display().to_string(), ranges.collect())
        };
        Fixture {
            jvm: (version.name, version.version),
            layout,
            code_cache,
            modules: modules.modules.iter().map(ranges).collect(),
            native,
            memory: unwinder
                .memory
                .recorded()
                .ranges
                .iter()
                .map(|(&at, bytes)| (at, to_hex(bytes)))
                .collect(),
            stacks,
        }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap() + "\n"
    }

    /// The JVM as it was recorded: what was not read then can't be read.
    pub fn replay(&self) -> (ModuleTable, Unwinder<RecordedMemory>) {
        let modules = self
            .modules
            .iter()
            .enumerate()
            .map(|(index, (path, ranges))| Module {
                id: ModuleId(index as u32),
                path: PathBuf::from(path),
                deleted: false,
                device: (0, 0),
                inode: 0,
                build_id: None,
                file: Arc::new(File::open("/dev/null").unwrap()),
                ranges: ranges
                    .iter()
                    .map(|&(start, end, file_offset, executable)| MappedRange {
                        start,
                        end,
                        file_offset,
                        executable,
                    })
                    .collect(),
            });
        let modules = ModuleTable::from_modules(modules.collect());
        let mut memory = RecordedMemory::default();
        for (&address, bytes) in &self.memory {
            memory.put(address, &from_hex(bytes));
        }
        let mut unwinder = Unwinder::new(memory);
        let known = self.native.iter().map(|&(address, module, offset, rule)| {
            (
                address,
                Frame::Native {
                    module: ModuleId(module),
                    offset,
                },
                rule,
            )
        });
        unwinder.native = NativeUnwinder::from_known(known.collect());
        let version = JvmVersion {
            name: self.jvm.0.clone(),
            version: self.jvm.1.clone(),
        };
        unwinder.jvm = Some(Ok(HotSpot::new(
            version,
            self.layout.clone(),
            self.code_cache.clone(),
        )));
        (modules, unwinder)
    }
}

/// The golden files.
pub fn fixtures() -> Vec<Fixture> {
    [
        include_str!("jvm-17-cold.json"),
        include_str!("jvm-17-warm.json"),
        include_str!("jvm-17-server.json"),
        include_str!("jvm-21-parked.json"),
        include_str!("jvm-25-server.json"),
    ]
    .into_iter()
    .map(|json| serde_json::from_str(json).unwrap())
    .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Recorded stacks of JVMs 17, 21 and 25 give the frames that were recorded, cold and from the caches;
/// among them those of virtual threads with parked frames.
#[test]
fn golden() {
    for fixture in fixtures() {
        let (modules, mut unwinder) = fixture.replay();
        for stack in fixture.stacks.iter().chain(&fixture.stacks) {
            let bytes = stack.bytes();
            let walked = unwinder.unwind(&modules, &stack.capture(&bytes));
            assert_eq!(
                describe(&walked, unwinder.methods(), &modules),
                stack.frames
            );
        }
    }
}
