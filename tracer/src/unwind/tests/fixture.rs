//! Recording stacks of a live JVM, and replaying them.

use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::stack::{Frame, MethodTable};
use crate::target::modules::{Module, ModuleTable};
use crate::unwind::fixture::files::FILES;
use crate::unwind::fixture::{Description, Fixture, Recorded, RecordedStack, to_hex};
use crate::unwind::hotspot::HotSpot;
use crate::unwind::memory::{Memory, ProcessMemory, RecordedMemory, Recorder};
use crate::unwind::native::NativeUnwinder;
use crate::unwind::{Registers, StackCapture, Unwinder};

use super::describe;

/// A stack that was looked at, and what the JVM said about it, if it was asked.
#[cfg(target_arch = "x86_64")]
pub struct Seen {
    pub way: String,
    pub told: Vec<String>,
    pub copy: super::stops::Copy,
}

impl Fixture {
    /// Walks `stacks` once more, with empty caches, and records what that reads.
    #[cfg(target_arch = "x86_64")]
    pub fn record(
        modules: &ModuleTable,
        unwinder: &mut Unwinder<Recorder<ProcessMemory>>,
        seen: &[Seen],
        description: Option<Description>,
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
        let stacks = seen.iter().map(|seen| {
            let stack = &seen.copy;
            let walked = unwinder.unwind(modules, &stack.capture());
            RecordedStack {
                way: seen.way.clone(),
                told: seen.told.clone(),
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
            // Where a JDK was installed is nobody's affair.
            let name = module.path.file_name().unwrap_or_default();
            (name.to_string_lossy().into_owned(), ranges.collect())
        };
        Fixture {
            jvm: (version.name, version.version),
            layout,
            code_cache,
            description,
            modules: modules.modules.iter().map(ranges).collect(),
            native,
            memory: super::record::hexadecimal(&unwinder.memory),
            stacks,
        }
    }

    /// The fixture as a file.
    pub fn to_file(&self) -> Vec<u8> {
        let mut file = GzEncoder::new(Vec::new(), Compression::best());
        serde_json::to_writer(&mut file, self).unwrap();
        file.finish().unwrap()
    }
}

impl RecordedStack {
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
            missing: 0,
            taken: std::time::Instant::now(),
            truncated: false,
            tid: self.tid,
            replaced: &[],
            anchor: None,
        }
    }
}

impl Recorded {
    /// An unwinder of this JVM that has walked nothing yet and reads `memory`.
    pub fn unwinder<M: Memory>(&self, memory: M) -> Unwinder<M> {
        self.unwinder_of(memory, self.hotspot())
    }

    /// The JVM as it was recorded: what was not read then can't be read.
    pub fn replay(&self) -> (&ModuleTable, Unwinder<RecordedMemory>) {
        (&self.modules, self.unwinder(self.memory.clone()))
    }
}

/// The golden files.
pub fn fixtures() -> &'static [Recorded] {
    static RECORDED: LazyLock<Vec<Recorded>> = LazyLock::new(|| {
        let recorded = |(name, file): &(&str, &[u8])| match Recorded::parse(file) {
            Ok(recorded) => recorded,
            Err(error) => panic!("{name}: {error:#}"),
        };
        FILES.iter().map(recorded).collect()
    });
    &RECORDED
}

/// Recorded stacks of each JVM give the frames that were recorded, cold and from the caches; among them those of virtual
/// threads with parked frames.
#[test]
fn golden() {
    for (recorded, (name, _)) in fixtures().iter().zip(FILES) {
        let mut unwinder = recorded.unwinder(&recorded.memory);
        for (stack, bytes) in recorded.stacks.iter().chain(&recorded.stacks) {
            let walked = unwinder.unwind(&recorded.modules, &stack.capture(bytes));
            assert_eq!(
                describe(&walked, unwinder.methods(), &recorded.modules),
                stack.frames,
                "{name} {}",
                stack.way
            );
            let told = super::record::java_frames(&walked, unwinder.methods());
            assert!(
                stack.told.is_empty() || super::record::agrees(&stack.told, &told),
                "{name} {}",
                stack.way
            );
        }
    }
}

/// Recorded stacks of compiled code on each JVM have a deoptimised frame among them.
#[test]
fn deoptimized() {
    let compiled = fixtures().iter().zip(FILES);
    let compiled = compiled.filter(|(_, (name, _))| name.ends_with("-compiled"));
    for (recorded, (name, _)) in compiled {
        let mut unwinder = recorded.unwinder(&recorded.memory);
        let way = recorded
            .stacks
            .iter()
            .find(|(stack, _)| stack.way == "deoptimized");
        let (stack, bytes) = way.unwrap();
        unwinder.unwind(&recorded.modules, &stack.capture(bytes));
        let Some(Ok(hotspot)) = &unwinder.jvm else {
            panic!("{name} has no JVM")
        };
        assert!(hotspot.met_deoptimized(), "{name}");
    }
}

/// The JVM's own description of each recorded release leads to the layout that the stacks were walked with.
#[test]
fn detection() {
    let mut releases = std::collections::BTreeSet::new();
    for (recorded, (name, _)) in fixtures().iter().zip(FILES) {
        let Some(described) = &recorded.described else {
            continue;
        };
        let hotspot = HotSpot::detect(&described.memory, &described.libjvm, 0).unwrap();
        let (version, layout, code_cache) = hotspot.parts();
        let (known, ..) = recorded.hotspot().parts();
        assert_eq!(
            (version, &layout, &code_cache),
            (known, &recorded.layout, &recorded.code_cache),
            "{name}"
        );
        releases.insert(layout.release);
    }
    assert_eq!(Vec::from_iter(releases), [11, 17, 21, 25]);
}
