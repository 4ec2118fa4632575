//! Java methods: from the JVM's `Method*` to names and lines.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::fast_map::FastMap;
use crate::stack::{JavaMethod, MethodId, MethodTable, UnknownReason};
use crate::unwind::memory::{Memory, Noted, Piece, Unreadable};

use super::blob::Record;
use super::doubts::Doubts;
use super::layout::{MethodLayout, SourceFile, VmLayout};
use super::lines::LineTable;
use super::moment::{Changes, Look, Moment, Span};
use super::names;

/// Methods whose metadata is remembered. When full it starts anew.
const MAX_CACHED: usize = 1 << 16;
/// Names that are kept for reports; a large application server loads some 300,000 methods, of which few allocate.
const MAX_METHODS: usize = 1 << 20;
/// The line table of a method with 64 KiB of bytecode.
const MAX_LINE_BYTES: usize = 1 << 17;
/// Most tables fit.
const FIRST_LINE_BYTES: usize = 512;

const NATIVE: u16 = 0x0100;

/// What is remembered of a method.
#[derive(Debug)]
pub struct Method {
    pub id: MethodId,
    pub is_native: bool,
    /// Address of its first bytecode.
    bytecode: u64,
    code_size: u16,
    lines: LineTable,
    /// To see that the JVM has not given the memory to another method.
    identity: Identity,
    /// What has to be read to see that.
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq, Eq)]
struct Identity {
    const_method: u64,
    header: Vec<u8>,
    /// As the JVM writes it. All else is the same in a class that was loaded again under another name: the JVM gives
    /// out memory in the same order.
    class: String,
}

impl Method {
    /// The source line at a bytecode index; 0 where it is not known.
    pub fn line(&self, bci: Option<u16>) -> u32 {
        match bci {
            Some(bci) if bci < self.code_size => self.lines.line(bci),
            // A method's entry.
            None => self.lines.line(0),
            Some(_) => 0,
        }
    }

    /// Whether a frame would look the same if it were of `other`. A class that is redefined leaves its old methods where
    /// they are, with other constants.
    fn looks_like(&self, other: &Method) -> bool {
        let parts = |method: &Method| {
            (
                method.id,
                method.is_native,
                method.bytecode,
                method.code_size,
            )
        };
        parts(self) == parts(other) && self.lines == other.lines
    }

    /// Whether this is what is at `address` now.
    fn is_still(&self, memory: &impl Memory, layout: &VmLayout, address: u64) -> bool {
        match Identity::read(memory, &layout.method, address) {
            Ok(identity) => identity == self.identity,
            // Of a process that has ended what was known stays true. Else the JVM has given the memory back, or written
            // something other than a method there.
            Err(Unreadable) => !layout.code_cache.heaps.is_readable(memory),
        }
    }

    /// The index of the bytecode at address `bcp`; None where it is not one of this method's.
    pub fn bci(&self, bcp: u64) -> Option<u16> {
        let bci = u16::try_from(bcp.checked_sub(self.bytecode)?).ok()?;
        (bci < self.code_size).then_some(bci)
    }
}

/// Methods by their address. The JVM may unload or redefine one, and so an entry is looked at again for the first stack
/// that is younger than the last look.
#[derive(Debug, Default)]
pub struct MethodCache {
    methods: FastMap<u64, Known>,
    ids: HashMap<JavaMethod, MethodId>,
    /// About methods.
    pub doubts: Doubts,
    changes: Changes,
}

#[derive(Debug)]
struct Known {
    /// None where none makes sense.
    method: Option<Arc<Method>>,
    span: Span,
    /// What was there before, until `span.other`, and since when it was seen there.
    before: Option<(Arc<Method>, Instant)>,
    /// The last look has found something else.
    has_changed: bool,
}

impl MethodCache {
    /// The method that was at `address` when a stack was taken. `fits` says whether it can be the one that a frame is of.
    ///
    /// # Errors
    /// There is none that makes sense, or it may have been another one.
    pub fn get(
        &mut self,
        memory: &impl Memory,
        layout: &VmLayout,
        table: &mut MethodTable,
        address: u64,
        moment: Moment,
        fits: impl Fn(&Method) -> bool,
    ) -> Result<Arc<Method>, UnknownReason> {
        if let Some(method) = self.believed(address, moment, &fits) {
            return Ok(method);
        }
        if !self.is_known(memory, layout, address, moment) {
            self.learn(memory, layout, table, address, moment);
        }
        let known = self.methods.get(&address);
        let known = known.ok_or(UnknownReason::BadMetadata)?;
        let fitting = |method: &Option<Arc<Method>>| method.clone().filter(|method| fits(method));
        let earlier = known.before.as_ref();
        let before = earlier.and_then(|(before, _)| Some(before.clone()).filter(|it| fits(it)));
        match fitting(&known.method) {
            Some(method) if self.changes.believes(&known.span, moment) => Ok(method),
            Some(method)
                if before
                    .as_ref()
                    .is_some_and(|before| before.looks_like(&method)) =>
            {
                Ok(method)
            }
            // Of two methods the frame itself tells which one it is of.
            Some(method)
                if earlier.is_some() && before.is_none() && known.span.excludes_other(moment) =>
            {
                Ok(method)
            }
            Some(_) => Err(UnknownReason::Replaced),
            None if known.method.is_some() => Err(UnknownReason::Replaced),
            None if known.span.follows(moment)
                && earlier.is_some_and(|(_, since)| *since <= moment.taken) =>
            {
                before.ok_or(UnknownReason::BadMetadata)
            }
            None => Err(UnknownReason::BadMetadata),
        }
    }

    /// What is remembered of `address`, to be looked at later.
    fn believed(
        &mut self,
        address: u64,
        moment: Moment,
        fits: impl Fn(&Method) -> bool,
    ) -> Option<Arc<Method>> {
        let known = self.methods.get(&address)?;
        let is_younger = moment.taken > known.span.last;
        if !is_younger || moment.look == Look::Now || known.has_changed {
            return None;
        }
        let method = known.method.clone().filter(|method| fits(method))?;
        self.doubts.believe(address, moment.stack);
        Some(method)
    }

    /// Whether what is known of `address` is younger than the stack, or still so.
    fn is_known(
        &mut self,
        memory: &impl Memory,
        layout: &VmLayout,
        address: u64,
        moment: Moment,
    ) -> bool {
        let Some(known) = self.methods.get_mut(&address) else {
            return false;
        };
        if moment.taken <= known.span.last {
            return true;
        }
        let method = known.method.as_ref();
        let is_same = method.is_some_and(|method| method.is_still(memory, layout, address));
        if is_same {
            (known.span.last, known.has_changed) = (moment.now, false);
        } else {
            self.changes.note(moment.now);
        }
        is_same
    }

    /// Reads what is at `address` now.
    fn learn(
        &mut self,
        memory: &impl Memory,
        layout: &VmLayout,
        table: &mut MethodTable,
        address: u64,
        moment: Moment,
    ) {
        let method = self.read(memory, layout, table, address).ok().map(Arc::new);
        if self.methods.len() >= MAX_CACHED {
            self.methods.clear();
            self.doubts.replace_all();
        }
        let before = self.methods.remove(&address);
        if before.is_some() {
            self.doubts.replace(address);
        }
        let other = before.as_ref().map(|before| before.span.last);
        let known = Known {
            method,
            span: Span::new(moment, other),
            before: before.and_then(
                |Known {
                     method,
                     span,
                     before,
                     ..
                 }| { method.map(|method| (method, span.first)).or(before) },
            ),
            has_changed: false,
        };
        self.methods.insert(address, known);
    }

    /// What [`MethodCache::holds`] reads.
    pub fn pieces(&self, address: u64) -> &[Piece] {
        let entry = self.methods.get(&address);
        let method = entry.and_then(|entry| entry.method.as_ref());
        method.map_or(&[], |method| &method.pieces)
    }

    /// Whether the method at `address` is still the one that is remembered.
    pub fn holds(
        &mut self,
        memory: &impl Memory,
        layout: &VmLayout,
        address: u64,
        now: Instant,
    ) -> bool {
        let Some(entry) = self.methods.get_mut(&address) else {
            return false;
        };
        let method = entry.method.as_ref();
        entry.has_changed = !method.is_some_and(|method| method.is_still(memory, layout, address));
        if !entry.has_changed {
            entry.span.last = now;
        }
        !entry.has_changed
    }

    fn read(
        &mut self,
        memory: &impl Memory,
        layout: &VmLayout,
        table: &mut MethodTable,
        address: u64,
    ) -> Result<Method, Unreadable> {
        let offsets = &layout.method;
        let noted = Noted::new(memory);
        let identity = Identity::read(&noted, offsets, address)?;
        let header = Record(identity.header.clone());
        let code_size = header.u16(offsets.code_size)?;
        let bytecode = identity
            .const_method
            .checked_add(offsets.const_method_size)
            .ok_or(Unreadable)?;
        let mut lines = LineTable::default();
        if u32::from(header.u16(offsets.flags)?) & offsets.has_line_table != 0 {
            let table = bytecode
                .checked_add(u64::from(code_size))
                .ok_or(Unreadable)?;
            lines = read_lines(memory, table, layout.release);
        }
        let named = read_names(memory, offsets, &header, &identity.class)?;
        Ok(Method {
            id: self.intern(table, named).ok_or(Unreadable)?,
            is_native: memory
                .read_vec(address.wrapping_add(offsets.access_flags), 2)
                .map(Record)?
                .u16(0)?
                & NATIVE
                != 0,
            bytecode,
            code_size,
            lines,
            identity,
            pieces: noted.pieces(),
        })
    }

    /// One id per name, however often the JVM loads or compiles the method.
    fn intern(&mut self, table: &mut MethodTable, method: JavaMethod) -> Option<MethodId> {
        if let Some(&id) = self.ids.get(&method) {
            return Some(id);
        }
        if table.methods.len() >= MAX_METHODS {
            return None;
        }
        let id = MethodId(u32::try_from(table.methods.len()).ok()?);
        table.methods.push(method.clone());
        self.ids.insert(method, id);
        Some(id)
    }
}

impl Identity {
    fn read(memory: &impl Memory, layout: &MethodLayout, address: u64) -> Result<Self, Unreadable> {
        // Metadata is aligned to words; anything else is no method.
        if !address.is_multiple_of(8) {
            return Err(Unreadable);
        }
        let const_method =
            memory.read_u64(address.checked_add(layout.const_method).ok_or(Unreadable)?)?;
        let header = Record(memory.read_vec(const_method, layout.const_method_size as usize)?);
        let pool = header.u64(layout.constants)?;
        let holder = memory.read_u64(pool.wrapping_add(layout.pool_holder))?;
        let class = memory.read_u64(holder.wrapping_add(layout.klass_name))?;
        Ok(Identity {
            const_method,
            class: names::symbol(memory, layout, class)?,
            header: header.0,
        })
    }
}

fn read_names(
    memory: &impl Memory,
    layout: &MethodLayout,
    header: &Record,
    class: &str,
) -> Result<JavaMethod, Unreadable> {
    let pool = header.u64(layout.constants)?;
    let holder = memory.read_u64(pool.wrapping_add(layout.pool_holder))?;
    let of_pool = |index: u16| {
        let slot = layout.constant_pool_size + 8 * u64::from(index);
        // The lowest bit marks classes that are not resolved yet.
        let symbol = memory.read_u64(pool.wrapping_add(slot))? & !1;
        names::symbol(memory, layout, symbol)
    };
    let source_index = match layout.source_file {
        SourceFile::ConstantPool(at) => Some(pool.wrapping_add(at)),
        SourceFile::InstanceKlass(at) => Some(holder.wrapping_add(at)),
        SourceFile::Unknown => None,
    };
    let source_index =
        source_index.and_then(|at| memory.read_vec(at, 2).map(Record).ok()?.u16(0).ok());
    let name = of_pool(header.u16(layout.name_index)?)?;
    if !names::is_class(class) || !names::is_method(&name) {
        return Err(Unreadable);
    }
    Ok(JavaMethod {
        class: names::class(class),
        name,
        signature: of_pool(header.u16(layout.signature_index)?)?,
        source_file: source_index
            .filter(|&index| index != 0)
            .and_then(|index| of_pool(index).ok()),
    })
}

/// The line table at `address`, whose length is stated nowhere.
fn read_lines(memory: &impl Memory, address: u64, release: u32) -> LineTable {
    let mut len = FIRST_LINE_BYTES;
    loop {
        let bytes = memory.read_up_to(address, len);
        let (table, complete) = LineTable::decode(&bytes, release);
        if complete || bytes.len() < len || len >= MAX_LINE_BYTES {
            return table;
        }
        len *= 4;
    }
}
