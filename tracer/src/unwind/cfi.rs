//! Call frame information: from an ELF file's `.eh_frame` to the rule that finds a frame's caller.
//!
//! Only what CFI states is used. Where it states nothing there is no rule: nothing is guessed from frame pointers.

use std::fs::File;

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, Register, RegisterRule,
    UnwindContext,
};
use gimli::{UnwindExpression, UnwindSection};

use crate::target::modules::elf::{self, Segment};

/// FDEs that are indexed in a file without `.eh_frame_hdr`.
const MAX_FDES: usize = 1 << 20;
/// Bytes of an entry in `.eh_frame_hdr`: two numbers of at least 16 bits.
const MIN_ENTRY: usize = 4;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The numbers that DWARF gives to the registers that a walk follows.
#[cfg(target_arch = "x86_64")]
pub mod registers {
    pub use gimli::X86_64 as Names;
    pub const SP: gimli::Register = Names::RSP;
    pub const FP: gimli::Register = Names::RBP;
    pub const BX: gimli::Register = Names::RBX;
    pub const RA: gimli::Register = Names::RA;
}
#[cfg(target_arch = "aarch64")]
pub mod registers {
    pub use gimli::AArch64 as Names;
    pub const SP: gimli::Register = Names::SP;
    pub const FP: gimli::Register = Names::X29;
    pub const BX: gimli::Register = Names::X19;
    pub const RA: gimli::Register = Names::X30;
}
use registers::{BX, FP, RA, SP};

/// How the caller's registers are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Rule {
    Row(Row),
    /// The kernel called here to deliver a signal; all registers were saved on the stack.
    SignalFrame,
}

/// One row of a CFI table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Row {
    pub cfa: Cfa,
    pub ra: Place,
    pub fp: Place,
    pub bx: Place,
}

/// The canonical frame address: the stack pointer before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Cfa {
    Sp(i64),
    Fp(i64),
    Bx(i64),
    #[serde(skip)]
    Expression(UnwindExpression<usize>),
}

/// Where the caller's value of a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Place {
    /// Nowhere. For the return address: this is the thread's first frame.
    Undefined,
    Same,
    /// In memory, so many bytes from the CFA.
    AtCfa(i64),
    /// In memory, at the address that the expression computes.
    #[serde(skip)]
    AtExpression(UnwindExpression<usize>),
    /// A form that no compiler has been seen to use for this register.
    Unsupported,
}

/// The unwind tables of one file.
#[derive(Debug, Default)]
pub struct CfiTables {
    eh_frame: Vec<u8>,
    header: Option<Vec<u8>>,
    /// Without a header: start and end address of the code of each FDE, and its offset in `eh_frame`. Ascending.
    index: Vec<(u64, u64, usize)>,
    bases: BaseAddresses,
    segments: Vec<Segment>,
}

impl CfiTables {
    /// The tables of `file`, if it has any.
    pub fn load(file: &File) -> Option<Self> {
        elf::visit(file, |elf| {
            let (eh_frame_address, eh_frame) = elf::section(elf, ".eh_frame")?;
            let header = elf::section(elf, ".eh_frame_hdr");
            let address = |name| {
                object::Object::section_by_name(elf, name)
                    .map_or(0, |s| object::ObjectSection::address(&s))
            };
            let bases = BaseAddresses::default()
                .set_eh_frame(eh_frame_address)
                .set_eh_frame_hdr(header.as_ref().map_or(0, |(address, _)| *address))
                .set_text(address(".text"))
                .set_got(address(".got"));
            let header = header
                .map(|(_, bytes)| bytes)
                .filter(|bytes| has_table(bytes, &bases));
            let mut tables = CfiTables {
                eh_frame,
                header,
                index: Vec::new(),
                bases,
                segments: elf::segments(elf),
            };
            if tables.header.is_none() {
                tables.index = tables.index_fdes();
            }
            Some(tables)
        })?
    }

    /// The rule for the code at `file_offset`, if the file states one.
    pub fn rule(&self, file_offset: u64, context: &mut UnwindContext<usize>) -> Option<Rule> {
        let address = elf::stated_address(&self.segments, file_offset)?;
        let eh_frame = self.section();
        let fde = self.fde(&eh_frame, address)?;
        if fde.is_signal_trampoline() {
            return Some(Rule::SignalFrame);
        }
        let row = fde
            .unwind_info_for_address(&eh_frame, &self.bases, context, address)
            .ok()?;
        let cfa = match *row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } if register == SP => Cfa::Sp(offset),
            CfaRule::RegisterAndOffset { register, offset } if register == FP => Cfa::Fp(offset),
            CfaRule::RegisterAndOffset { register, offset } if register == BX => Cfa::Bx(offset),
            CfaRule::Expression(expression) => Cfa::Expression(expression),
            _ => return None,
        };
        let place = |register: Register| place(register, row.register(register));
        Some(Rule::Row(Row {
            cfa,
            ra: place(RA),
            fp: place(FP),
            bx: place(BX),
        }))
    }

    pub fn section(&self) -> EhFrame<Slice<'_>> {
        let mut section = EhFrame::new(&self.eh_frame, LittleEndian);
        section.set_address_size(8);
        section
    }

    fn fde<'a>(
        &'a self,
        eh_frame: &EhFrame<Slice<'a>>,
        address: u64,
    ) -> Option<gimli::FrameDescriptionEntry<Slice<'a>>> {
        let fde = match &self.header {
            Some(header) => {
                let header = EhFrameHdr::new(header, LittleEndian)
                    .parse(&self.bases, 8)
                    .ok()?;
                let begin = header.eh_frame_ptr().direct().ok()?;
                let found = header.table()?.lookup(address, &self.bases).ok()?;
                // Not by `fde_for_address`, whose subtraction overflows where a table points below the section.
                let offset = found.direct().ok()?.checked_sub(begin)?;
                let offset = usize::try_from(offset).ok()?;
                eh_frame
                    .fde_from_offset(&self.bases, offset.into(), EhFrame::cie_from_offset)
                    .ok()?
            }
            None => {
                let after = self.index.partition_point(|&(start, ..)| start <= address);
                let &(_, _, offset) = self.index.get(after.checked_sub(1)?)?;
                eh_frame
                    .fde_from_offset(&self.bases, offset.into(), EhFrame::cie_from_offset)
                    .ok()?
            }
        };
        fde.contains(address).then_some(fde)
    }

    fn index_fdes(&self) -> Vec<(u64, u64, usize)> {
        let eh_frame = self.section();
        let mut index = Vec::new();
        let mut entries = eh_frame.entries(&self.bases);
        while let Ok(Some(entry)) = entries.next() {
            let gimli::CieOrFde::Fde(partial) = entry else {
                continue;
            };
            let Ok(fde) = partial.parse(EhFrame::cie_from_offset) else {
                continue;
            };
            index.push((fde.initial_address(), fde.end_address(), fde.offset()));
            if index.len() >= MAX_FDES {
                break;
            }
        }
        index.sort_unstable();
        index
    }
}

/// Whether `header` has a table to search in, which is not said to be longer than the header.
fn has_table(header: &[u8], bases: &BaseAddresses) -> bool {
    EhFrameHdr::new(header, LittleEndian)
        .parse(bases, 8)
        .is_ok_and(|parsed| {
            let entries = parsed.table().map(|table| table.iter(bases).size_hint().0);
            entries.is_some_and(|entries| entries <= header.len() / MIN_ENTRY)
        })
}

fn place(register: Register, rule: Option<RegisterRule<usize>>) -> Place {
    match rule {
        // What is not mentioned is unchanged, by the ABI. On x86_64 the return address is no register that could be.
        None if register == RA && cfg!(target_arch = "x86_64") => Place::Unsupported,
        None | Some(RegisterRule::SameValue) => Place::Same,
        Some(RegisterRule::Undefined) => Place::Undefined,
        Some(RegisterRule::Offset(offset)) => Place::AtCfa(offset),
        Some(RegisterRule::Expression(expression)) => Place::AtExpression(expression),
        Some(_) => Place::Unsupported,
    }
}
