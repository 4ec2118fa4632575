//! DWARF expressions in unwind tables: rare (PLT entries, realigned stacks), and evaluated each time.

use gimli::{Encoding, EvaluationResult, Format, Location, Register, UnwindExpression, Value};

use super::cfi::{CfiTables, registers};
use super::cursor::{CapturedStack, Cursor};

/// Operations in one DWARF expression; compilers emit fewer than ten.
const MAX_OPERATIONS: u32 = 256;
const ENCODING: Encoding = Encoding {
    address_size: 8,
    format: Format::Dwarf32,
    version: 4,
};

/// The value of a DWARF expression over the registers that are known and the copied stack.
pub fn evaluate(
    expression: UnwindExpression<usize>,
    tables: &CfiTables,
    now: &Cursor,
    stack: &CapturedStack<'_>,
    initial: Option<u64>,
) -> Option<u64> {
    let mut evaluation = expression.get(&tables.section()).ok()?.evaluation(ENCODING);
    evaluation.set_max_iterations(MAX_OPERATIONS);
    if let Some(initial) = initial {
        evaluation.set_initial_value(initial);
    }
    let mut state = evaluation.evaluate().ok()?;
    // Each round answers one operation, and those are bounded.
    loop {
        state = match state {
            EvaluationResult::Complete => break,
            EvaluationResult::RequiresRegister { register, .. } => {
                let value = Value::Generic(value_of(register, now)?);
                evaluation.resume_with_register(value).ok()?
            }
            EvaluationResult::RequiresMemory {
                address, size: 8, ..
            } => {
                let word = stack.word(address).ok()?;
                evaluation.resume_with_memory(Value::Generic(word)).ok()?
            }
            _ => return None,
        };
    }
    match evaluation.as_result().last()?.location {
        Location::Address { address } => Some(address),
        Location::Value { value } => value.to_u64(u64::MAX).ok(),
        _ => None,
    }
}

fn value_of(register: Register, now: &Cursor) -> Option<u64> {
    match register {
        registers::SP => Some(now.sp),
        registers::FP => Some(now.fp),
        registers::BX => now.bx,
        registers::RA if cfg!(target_arch = "x86_64") => Some(now.pc),
        _ => None,
    }
}
