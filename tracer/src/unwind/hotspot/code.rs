//! What a return address in the code cache means: the frames that it stands for, and the rule to leave them by.

use std::ops::Range;
use std::sync::Arc;

use crate::stack::{Frame, JavaKind, MethodTable, UnknownReason};
use crate::unwind::memory::Memory;

use super::blob::{Blob, BlobKind, Nmethod};
use super::layout::VmLayout;
use super::method::{Method, MethodCache};
use super::moment::{Look, Moment};
use super::scopes::{self, Scope};

/// The highest tier of C1.
const C1_LEVELS: std::ops::RangeInclusive<u8> = 1..=3;

/// How to leave a frame of generated code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameRule {
    /// So many bytes above the stack pointer is the caller's; return address and frame pointer lie below that.
    FixedSize(u64),
    /// The same, and the frame is to be continued in the interpreter: its real return address is in the frame.
    Deoptimized {
        bytes: u64,
        orig_pc_offset: u32,
        code: Range<u64>,
    },
    /// By the frame pointer; the method is in the frame, too.
    Interpreter,
    FramePointer,
    /// By the frame pointer, to the JVM's code that called into Java.
    CallStub,
}

impl FrameRule {
    /// The size of the frame, where the code states one.
    pub fn bytes(&self) -> Option<u64> {
        match *self {
            FrameRule::FixedSize(bytes) | FrameRule::Deoptimized { bytes, .. } => Some(bytes),
            FrameRule::Interpreter | FrameRule::FramePointer | FrameRule::CallStub => None,
        }
    }
}

/// Generated code at one return address.
#[derive(Clone, Debug)]
pub struct JavaCode {
    pub blob: Arc<Blob>,
    pub rule: FrameRule,
    /// Innermost first; empty where they depend on the frame.
    pub frames: Vec<Frame>,
    /// Frames of a virtual thread are parked in the heap behind this one.
    pub is_barrier: bool,
    /// False where the compiler has noted no call: what is called there meets no safepoint, and is no Java method.
    pub may_call_java: bool,
    /// Everything could be read.
    pub is_complete: bool,
}

impl JavaCode {
    /// Freed code of which only the size of its frame is known.
    pub fn bare(blob: Blob, pc: u64) -> Self {
        let frame = Frame::Unknown {
            address: pc,
            reason: UnknownReason::NoCodeBlob,
        };
        JavaCode {
            rule: FrameRule::FixedSize(blob.frame_bytes),
            frames: vec![frame],
            is_barrier: false,
            may_call_java: true,
            is_complete: false,
            blob: Arc::new(blob),
        }
    }
}

/// Finds out what code means.
pub struct Resolver<'a, M> {
    pub memory: &'a M,
    pub layout: &'a VmLayout,
    pub methods: &'a mut MethodCache,
    pub table: &'a mut MethodTable,
    pub moment: Moment,
}

impl<M: Memory> Resolver<'_, M> {
    /// What the return address `pc` in `blob` means.
    pub fn resolve(&mut self, blob: Arc<Blob>, pc: u64) -> JavaCode {
        let rule = self.rule(&blob, pc);
        let mut may_call_java = true;
        let frames = match (&rule, &blob.nmethod) {
            (FrameRule::Interpreter | FrameRule::Deoptimized { .. }, _) => Vec::new(),
            (_, Some(nmethod)) => {
                let scopes = self.scopes(&blob, nmethod, pc);
                may_call_java = blob.kind == BlobKind::NativeWrapper || !scopes.is_empty();
                self.compiled(&blob, nmethod, pc, &scopes)
            }
            (FrameRule::CallStub, None) => vec![Frame::Stub {
                name: Arc::from("call_stub"),
            }],
            (_, None) => vec![Frame::Stub {
                name: Arc::clone(&blob.name),
            }],
        };
        let is_complete = !frames
            .iter()
            .any(|frame| matches!(frame, Frame::Unknown { .. }));
        JavaCode {
            rule,
            frames,
            is_barrier: blob.kind == BlobKind::Continuation,
            may_call_java,
            is_complete,
            blob,
        }
    }

    fn rule(&self, blob: &Blob, pc: u64) -> FrameRule {
        if Some(pc) == self.layout.call_stub_return {
            return FrameRule::CallStub;
        }
        match (&blob.nmethod, blob.kind) {
            (Some(nmethod), _) if nmethod.deopt_handlers.contains(&pc) => FrameRule::Deoptimized {
                bytes: blob.frame_bytes,
                orig_pc_offset: nmethod.orig_pc_offset,
                code: blob.code.clone(),
            },
            (None, BlobKind::Interpreter) => FrameRule::Interpreter,
            _ if blob.frame_bytes >= 16 => FrameRule::FixedSize(blob.frame_bytes),
            _ => FrameRule::FramePointer,
        }
    }

    fn scopes(&self, blob: &Blob, nmethod: &Nmethod, pc: u64) -> Vec<Scope> {
        if nmethod.method == 0 || blob.kind == BlobKind::NativeWrapper {
            return Vec::new();
        }
        scopes::at(self.memory, self.layout.release, nmethod, &blob.code, pc).unwrap_or_default()
    }

    fn compiled(
        &mut self,
        blob: &Blob,
        nmethod: &Nmethod,
        pc: u64,
        scopes: &[Scope],
    ) -> Vec<Frame> {
        let own = match (blob.kind, nmethod.level) {
            (BlobKind::NativeWrapper, _) => JavaKind::Native,
            (_, level) if C1_LEVELS.contains(&level) => JavaKind::C1,
            _ => JavaKind::C2,
        };
        if nmethod.method == 0 {
            return vec![Frame::Unknown {
                address: pc,
                reason: UnknownReason::NoCodeBlob,
            }];
        }
        // Without scopes for exactly this address the method is known, and neither its line nor what is inlined.
        if scopes.is_empty() {
            return vec![self.frame(own, nmethod.method, pc, |_| 0)];
        }
        let last = scopes.len() - 1;
        let kinds = (0..scopes.len()).map(|index| {
            if index == last {
                own
            } else {
                JavaKind::Inlined
            }
        });
        scopes
            .iter()
            .zip(kinds)
            .map(|(scope, kind)| {
                self.frame(kind, scope.method, pc, |method| method.line(scope.bci))
            })
            .collect()
    }

    fn frame(
        &mut self,
        kind: JavaKind,
        method: u64,
        pc: u64,
        line: impl Fn(&Method) -> u32,
    ) -> Frame {
        // What is found here is remembered with the code: it can't be doubted later.
        match self.method(method, Look::Now, |_| true) {
            Ok(method) => Frame::Java {
                kind,
                method: method.id,
                line: line(&method),
            },
            Err(reason) => Frame::Unknown {
                address: pc,
                reason,
            },
        }
    }

    /// The frame of the interpreter that runs `method` at the bytecode `bcp` points to.
    pub fn interpreted(&mut self, method: u64, bcp: u64, pc: u64) -> Frame {
        // Where a method has been replaced, the frame points to another one's bytecode.
        let fits = |method: &Method| method.is_native || method.bci(bcp).is_some();
        match self.method(method, self.moment.look, fits) {
            Ok(method) if method.is_native => Frame::Java {
                kind: JavaKind::Native,
                method: method.id,
                line: 0,
            },
            Ok(method) => Frame::Java {
                kind: JavaKind::Interpreted,
                method: method.id,
                line: method.line(method.bci(bcp)),
            },
            Err(reason) => Frame::Unknown {
                address: pc,
                reason,
            },
        }
    }

    fn method(
        &mut self,
        address: u64,
        look: Look,
        fits: impl Fn(&Method) -> bool,
    ) -> Result<Arc<Method>, UnknownReason> {
        let (memory, layout) = (self.memory, self.layout);
        let moment = Moment {
            look,
            ..self.moment
        };
        self.methods
            .get(memory, layout, self.table, address, moment, fits)
    }
}
