//! What a target says about its own memory, and the comparison with what was captured.

use offheap::capture::{Capture, SiteKind};
use serde::Deserialize;

use crate::checks::{Sum, describe, sites_through, sum};

/// The truth about one function of the target that allocates. A number that is absent is not told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// The function, as a stack frame names it; every allocation meant here has it in its stack.
    pub site: String,
    pub kind: SiteKind,
    pub outstanding_bytes: Option<u64>,
    pub outstanding_count: Option<u64>,
    pub allocated_bytes: Option<u64>,
    pub allocated_count: Option<u64>,
    pub reserved_bytes: Option<u64>,
    /// For streams: the malloc blocks that the outstanding ones hold.
    pub blocks: Option<u64>,
    pub freed_by_cleaner: Option<u64>,
}

/// A number's name, its true value where it is told, and where the captured one stands.
type Told = (&'static str, Option<u64>, fn(&Sum) -> u64);

impl Truth {
    pub fn parse(line: &str) -> Truth {
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("the target told no truth in {line}: {error}"))
    }

    fn told(&self) -> [Told; 7] {
        [
            ("outstanding_bytes", self.outstanding_bytes, |sum| {
                sum.outstanding_bytes
            }),
            ("outstanding_count", self.outstanding_count, |sum| {
                sum.outstanding_count
            }),
            ("allocated_bytes", self.allocated_bytes, |sum| {
                sum.allocated_bytes
            }),
            ("allocated_count", self.allocated_count, |sum| {
                sum.allocated_count
            }),
            ("reserved_bytes", self.reserved_bytes, |sum| {
                sum.reserved_bytes
            }),
            ("blocks", self.blocks, |sum| sum.blocks),
            ("freed_by_cleaner", self.freed_by_cleaner, |sum| {
                sum.freed_by_cleaner
            }),
        ]
    }
}

/// Every number that the target told is the captured one, exactly.
pub fn assert_truth(capture: &Capture, truths: &[Truth]) {
    assert!(!truths.is_empty(), "the target told no truth");
    let mut wrong = Vec::new();
    for truth in truths {
        let sites = sites_through(capture, truth.kind, &truth.site);
        let got = sum(&sites);
        for (what, told, read) in truth.told() {
            let Some(told) = told else { continue };
            if read(&got) != told {
                wrong.push(format!(
                    "{} {:?}: {what} is {told}, captured {}",
                    truth.site,
                    truth.kind,
                    read(&got)
                ));
            }
        }
        if sites.iter().any(|site| site.estimated) && truth.kind == SiteKind::Malloc {
            wrong.push(format!(
                "{}: an exact capture calls its numbers estimated",
                truth.site
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nlosses {:?}\n{}",
        wrong.join("\n"),
        capture.losses,
        describe(capture)
    );
}

/// All that was captured of `kind` below the function `work` is what the target told, and not one byte more.
pub fn assert_nothing_else(capture: &Capture, kind: SiteKind, work: &str, truths: &[Truth]) {
    let got = sum(&sites_through(capture, kind, work));
    let told = truths.iter().filter(|truth| truth.kind == kind);
    let bytes: u64 = told
        .clone()
        .filter_map(|truth| truth.outstanding_bytes)
        .sum();
    assert_eq!(
        got.outstanding_bytes,
        bytes,
        "outstanding {kind:?} bytes below {work}\n{}",
        describe(capture)
    );
    if told.clone().all(|truth| truth.outstanding_count.is_some()) {
        let count: u64 = told.filter_map(|truth| truth.outstanding_count).sum();
        assert_eq!(
            got.outstanding_count,
            count,
            "outstanding {kind:?} count below {work}\n{}",
            describe(capture)
        );
    }
}
