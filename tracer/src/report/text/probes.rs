//! The table of probes.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{Paint, Style};
use crate::capture::Function;
use crate::report::clean;
use crate::report::units::{Count, Seconds};
use crate::report::verdict::counted;

/// The probes, by the file that they are in.
pub(super) fn write(functions: &[Function], paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let mut files: BTreeMap<(&str, Option<&str>), Vec<&Function>> = BTreeMap::new();
    for function in functions {
        files
            .entry((&function.file, function.build_id.as_deref()))
            .or_default()
            .push(function);
    }
    let title = format!(
        "Probes ({} in {})",
        functions.len(),
        counted(files.len() as u64, "file")
    );
    writeln!(out, "\n{}", paint.apply(Style::Strong, &title))?;
    for ((file, build_id), mut probes) in files {
        let build_id = build_id.map_or("none".into(), clean::name);
        writeln!(out, "  {} (build id {build_id})", clean::name(file))?;
        probes.sort_by_key(|probe| (&probe.group, probe.offset));
        for probe in probes {
            writeln!(out, "    {}", function_row(probe))?;
        }
    }
    Ok(())
}

fn function_row(probe: &Function) -> String {
    if let Some(error) = &probe.error {
        let reason = clean::name(error.lines().next().unwrap_or_default());
        return format!("{:<20} no probe: {reason}", clean::name(&probe.name));
    }
    let how = if probe.emulated {
        "emulated"
    } else {
        "single-stepped"
    };
    let mut row = format!(
        "{:<20} {:<10} {:<22} {how:<15} {:>13} seen",
        clean::name(&probe.name),
        format!("{:#x}", probe.offset),
        clean::name(&probe.instruction),
        Count(probe.seen),
    );
    for (count, what) in [(probe.failed, "failed"), (probe.lost, "lost")] {
        if count > 0 {
            row += &format!(", {} {what}", Count(count));
        }
    }
    if probe.attached_after_seconds > 0.0 {
        row += &format!(", attached after {}", Seconds(probe.attached_after_seconds));
    }
    row
}
