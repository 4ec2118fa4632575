//! Walks over stacks of this process, of a stopped JVM, of recorded JVMs, and over nonsense.

mod aarch64;
mod fixture;
#[cfg(target_arch = "x86_64")]
mod hostile;
#[cfg(target_arch = "x86_64")]
mod live_jvm;
#[cfg(target_arch = "x86_64")]
mod own_stack;
#[cfg(target_arch = "x86_64")]
mod record;
#[cfg(target_arch = "x86_64")]
mod stops;
#[cfg(target_arch = "x86_64")]
mod witness;

use crate::stack::{Frame, MethodTable, Stack};
use crate::target::modules::ModuleTable;

/// A stack as text, one line per frame: what golden files hold.
fn describe(stack: &Stack, methods: &MethodTable, modules: &ModuleTable) -> Vec<String> {
    let describe = |frame: &Frame| match frame {
        Frame::Native { module, offset } => {
            let path = modules
                .get(*module)
                .map(|module| module.path.display().to_string())
                .unwrap_or_default();
            format!(
                "native {}+{offset:#x}",
                path.rsplit('/').next().unwrap_or_default()
            )
        }
        Frame::Java { kind, method, line } => {
            let method = &methods.methods[method.0 as usize];
            format!(
                "{kind:?} {}.{}{}:{line}",
                method.class, method.name, method.signature
            )
            .to_string()
        }
        Frame::Stub { name } => format!("stub {name}"),
        Frame::Unknown { address, reason } => format!("unknown {address:#x} {reason:?}"),
        Frame::Marker(marker) => format!("marker {marker:?}"),
    };
    let mut lines: Vec<_> = stack.frames.iter().map(describe).collect();
    lines.push(format!("end {}", stack.end.as_str()));
    lines
}

/// An unwinder may live in a thread of its own.
#[test]
fn unwinder_is_send() {
    fn is_send<T: Send>() {}
    is_send::<super::Unwinder<super::memory::ProcessMemory>>();
}
