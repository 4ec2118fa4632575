//! Recording stacks of a live JVM, and replaying them.

use std::sync::LazyLock;

use crate::stack::{Frame, MethodTable};
use crate::target::modules::{Module, ModuleTable};
use crate::unwind::{Registers, StackCapture, Unwinder};
use crate::unwind::fixture::files::FILES;
use crate::unwind::fixture::{Fixture, Recorded, RecordedStack, to_hex};
use crate::unwind::hotspot::HotSpot;
use crate::unwind::memory::{Memory, ProcessMemory, RecordedMemory, Recorder};
use crate::unwind::native::NativeUnwinder;

use super::describe;

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
                way: String::new(),
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
            description: None,
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
            truncated: false,
            tid: self.tid,
            replaced: &[],
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
        let recorded = |(name, json): &(&str, &str)| match Recorded::parse(json) {
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
        }
    }
}
