//! Stacks through frames that no call made: signal handlers, the vDSO below them, and the dynamic linker that binds a
//! function when it is first called.

use std::process::Command;

use offheap::capture::{Capture, Site, SiteKind};
use offheap_tests::checks::stack;
use offheap_tests::{
    CFlags, Target, assert_conserved, assert_frames_in_order, assert_rooted, assert_truth,
    c_library, c_program, session, sites_through,
};

const EXACT: [&str; 4] = ["--hooks", "malloc", "--sample-bytes", "0"];

fn only_site<'a>(capture: &'a Capture, name: &str) -> &'a Site {
    let sites = sites_through(capture, SiteKind::Malloc, name);
    assert_eq!(sites.len(), 1, "one call makes one site: {sites:#?}");
    sites[0]
}

/// Wherever a signal comes, the stack of its handler goes on in what it interrupted, and down to the root: in the vDSO,
/// between its instructions, and in another handler.
#[test]
fn handlers_lead_to_what_they_interrupt() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(&mut Command::new(c_program(
        "interrupts",
        CFlags::default(),
    )));
    let (capture, truths) = target.captured(&EXACT);

    assert_truth(&capture, &truths);
    assert_conserved(&capture);
    let alarms = sites_through(&capture, SiteKind::Malloc, "on_alarm");
    for site in &alarms {
        assert_frames_in_order(site, &["on_alarm", "with_timer", "main", "_start"]);
        assert_rooted(site);
    }
    let in_vdso = |site: &&&Site| {
        let mut modules = site.frames.iter().map(|frame| frame.module.as_deref());
        modules.any(|module| module == Some("[vdso]"))
    };
    assert!(
        alarms.iter().any(|site| in_vdso(&site)),
        "no handler interrupted the vDSO:\n{}",
        alarms.iter().map(|site| stack(site)).collect::<String>()
    );

    let inner = only_site(&capture, "on_inner");
    let names = [
        "on_inner",
        "on_outer",
        "with_handler_in_handler",
        "main",
        "_start",
    ];
    assert_frames_in_order(inner, &names);
    assert_rooted(inner);
}

/// What a handler on a stack of its own has interrupted was not copied, and the stack says so.
#[test]
fn another_stack_is_marked() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(&mut Command::new(c_program(
        "interrupts",
        CFlags::default(),
    )));
    let (capture, truths) = target.captured(&EXACT);
    assert_truth(&capture, &truths);
    let site = only_site(&capture, "on_other_stack");
    assert_eq!(site.stack_end, "truncated", "{}", stack(site));
}

/// The dynamic linker's own frames, below the first call of a function that is bound late, are no gap.
#[test]
fn binding_leads_to_the_caller() {
    let Some(_session) = session() else { return };
    let library = c_library("chosen", CFlags::default());
    let folder = library.parent().expect("a file in a folder").display();
    let link = [
        format!("-L{folder}"),
        "-lchosen".to_owned(),
        format!("-Wl,-rpath,{folder}"),
        "-Wl,-z,lazy".to_owned(),
    ];
    let link: Vec<&str> = link.iter().map(String::as_str).collect();
    let program = c_program(
        "chooses",
        CFlags {
            link: &link,
            ..CFlags::default()
        },
    );
    let mut target = Target::start(&mut Command::new(program));
    let (capture, truths) = target.captured(&EXACT);
    assert_truth(&capture, &truths);
    let site = only_site(&capture, "choose");
    assert_frames_in_order(site, &["choose", "first_call", "main", "_start"]);
    let linker = |name: &str| name.starts_with("ld-linux") || name.starts_with("ld-musl");
    let mut modules = site
        .frames
        .iter()
        .filter_map(|frame| frame.module.as_deref());
    assert!(modules.any(linker), "bound early:\n{}", stack(site));
    assert_rooted(site);
}
