//! Applying a CFI rule to a frame: registers in, the caller's registers out.

use crate::stack::StackEnd;

use super::arch::Arch;
use super::cfi::{Cfa, CfiTables, Place, Row, Rule};
use super::cursor::{CapturedStack, Cursor};
use super::expression::evaluate;

/// What leaving a frame came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Caller {
        cursor: Cursor,
        /// The stack slot that the return address was read from.
        slot: Option<u64>,
    },
    /// The frame has no caller.
    Root,
}

/// Leaves the frame at `now` by `rule`, which `tables` stated.
///
/// # Errors
/// `NoUnwindInfo` where the rule needs a register that is not known; else those of [`CapturedStack::word`].
pub fn apply(
    rule: &Rule,
    tables: &CfiTables,
    now: &Cursor,
    stack: &CapturedStack<'_>,
) -> Result<Step, StackEnd> {
    match rule {
        Rule::Row(row) => apply_row(row, tables, now, stack),
        Rule::SignalFrame => signal_frame(now, stack),
    }
}

fn apply_row(
    row: &Row,
    tables: &CfiTables,
    now: &Cursor,
    stack: &CapturedStack<'_>,
) -> Result<Step, StackEnd> {
    let cfa = match row.cfa {
        Cfa::Sp(offset) => now.sp.checked_add_signed(offset),
        Cfa::Fp(offset) => now.fp.checked_add_signed(offset),
        Cfa::Bx(offset) => now
            .bx
            .ok_or(StackEnd::NoUnwindInfo)?
            .checked_add_signed(offset),
        Cfa::Expression(expression) => evaluate(expression, tables, now, stack, None),
    };
    let cfa = cfa.ok_or(StackEnd::NoProgress)?;
    let restore = |place: Place, same: Option<u64>| match place {
        Place::Same => Ok((same, None)),
        Place::AtCfa(offset) => slot(cfa.checked_add_signed(offset), stack),
        Place::AtExpression(expression) => {
            slot(evaluate(expression, tables, now, stack, Some(cfa)), stack)
        }
        Place::Undefined | Place::Unsupported => Ok((None, None)),
    };
    if row.ra == Place::Undefined {
        return Ok(Step::Root);
    }
    let (pc, slot) = restore(row.ra, now.lr)?;
    let pc = stack.arch.strip(pc.ok_or(StackEnd::NoUnwindInfo)?);
    // A frame pointer that was not saved where CFI says (a damaged stack) matters only if a later rule needs it.
    let fp = restore(row.fp, Some(now.fp)).map_or(0, |(fp, _)| fp.unwrap_or(0));
    let bx = restore(row.bx, now.bx).map_or(None, |(bx, _)| bx);
    let cursor = Cursor {
        bx,
        ..Cursor::caller(pc, cfa, fp)
    };
    Ok(Step::Caller { cursor, slot })
}

fn slot(
    address: Option<u64>,
    stack: &CapturedStack<'_>,
) -> Result<(Option<u64>, Option<u64>), StackEnd> {
    let address = address.ok_or(StackEnd::NoProgress)?;
    Ok((Some(stack.word(address)?), Some(address)))
}

/// The registers that the kernel saved when it delivered a signal: `struct rt_sigframe` with its `ucontext`, an ABI of
/// each architecture. The interrupted instruction was about to run: it is no return address.
fn signal_frame(now: &Cursor, stack: &CapturedStack<'_>) -> Result<Step, StackEnd> {
    let (pc, sp, fp, bx) = match stack.arch {
        Arch::X86_64 => (168, 160, 120, 128),
        Arch::Aarch64 => (568, 560, 544, 464),
    };
    let word = |offset: u64| stack.word(now.sp.checked_add(offset).ok_or(StackEnd::NoProgress)?);
    let lr = match stack.arch {
        Arch::X86_64 => None,
        Arch::Aarch64 => Some(word(552)?),
    };
    let cursor = Cursor {
        pc: word(pc)?,
        sp: word(sp)?,
        fp: word(fp)?,
        bx: Some(word(bx)?),
        lr,
        is_return_address: false,
    };
    // A handler on a stack of its own: the interrupted stack was not copied.
    if !stack.contains(cursor.sp) {
        return Err(StackEnd::Truncated);
    }
    Ok(Step::Caller { cursor, slot: None })
}
