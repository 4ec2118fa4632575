//! `offheap doctor`: what this kernel, these privileges and a target allow, and what to do about the rest.
//!
//! Facts are collected first ([`facts`], [`feature`]) and judged by pure functions ([`kernel`], [`privileges`],
//! [`process`]); [`preflight`] makes the first failed judgement the reason why a run does not begin.

pub mod check;
pub mod facts;
pub mod feature;
pub mod kernel;
pub mod privileges;
pub mod process;

use check::{Check, Diagnosis, Level};
use facts::Facts;

use crate::exit::{self, Exit, Refusal};
use crate::probes::{self, LinkKind};
use crate::target::Pid;
use crate::target::process::Process;

/// Prints one row per check; [`Exit::Refused`] when one of them failed.
///
/// # Errors
/// When stdout fails.
pub fn run(pid: Option<Pid>) -> anyhow::Result<Exit> {
    let facts = Facts::read();
    let mut checks = [kernel::checks(&facts), privileges::checks(&facts)].concat();
    checks.push(kernel::attaching(&facts, LinkKind::best()));
    if facts.privileges.has_all_required() && facts.attach_cookie.is_ok() {
        checks.push(kernel::programs(probes::trial()));
    }
    if let Some(pid) = pid {
        match Process::open(pid) {
            Ok(process) => checks.extend(process::checks(&process)),
            Err(error) => checks.push(process::refused(&error)),
        }
    }
    let diagnosis = Diagnosis { checks };
    exit::print(&diagnosis)?;
    Ok(if diagnosis.failed() == 0 {
        Exit::Done
    } else {
        Exit::Refused
    })
}

/// Opens the target, or says in one line why it can't be traced. Takes a few milliseconds, and for root no probe.
///
/// # Errors
/// A [`Refusal`] or a [`TargetEnded`](crate::exit::TargetEnded).
pub fn preflight(pid: Pid) -> anyhow::Result<Process> {
    let target = Process::open(pid)?;
    let facts = Facts::read();
    privileges::require(&facts)?;
    let mut checks = kernel::checks(&facts);
    // Attaching one takes some ms, and detaching it some hundred: only where it is likely to be refused.
    if !facts.privileges.has(privileges::SYS_ADMIN) && LinkKind::best() == LinkKind::Perf {
        checks.push(kernel::try_uprobe(&facts));
    }
    checks.extend(process::checks(&target));
    if let Some(failed) = first_failed(checks) {
        // A process that ends while it is looked at fails checks, too.
        if target.ended() {
            return Err(exit::TargetEnded::before_first_probe(pid).into());
        }
        return Err(failed.into());
    }
    Ok(target)
}

fn first_failed(checks: Vec<Check>) -> Option<Refusal> {
    let failed = checks
        .into_iter()
        .find(|check| check.level == Level::Fail)?;
    Some(Refusal::Unsupported {
        what: format!("{}: {}", failed.name, failed.found),
        remedy: failed.remedy,
    })
}

#[cfg(test)]
mod tests;
