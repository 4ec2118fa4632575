//! What a target says about its own memory, and the comparison with what was captured.

use offheap::capture::{Capture, SiteKind};
use serde::Deserialize;

use crate::checks::{Sum, assert_conserved, describe, sites_through, sum};

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

    fn told(&self) -> [Told; 8] {
        let freed = self
            .allocated_count
            .zip(self.outstanding_count)
            .map(|(allocated, outstanding)| allocated - outstanding);
        [
            ("outstanding_bytes", self.outstanding_bytes, |s| {
                s.outstanding_bytes
            }),
            ("outstanding_count", self.outstanding_count, |s| {
                s.outstanding_count
            }),
            ("allocated_bytes", self.allocated_bytes, |s| {
                s.allocated_bytes
            }),
            ("allocated_count", self.allocated_count, |s| {
                s.allocated_count
            }),
            ("freed_count", freed, |s| s.freed_count),
            ("reserved_bytes", self.reserved_bytes, |s| s.reserved_bytes),
            ("blocks", self.blocks, |s| s.blocks),
            ("freed_by_cleaner", self.freed_by_cleaner, |s| {
                s.freed_by_cleaner
            }),
        ]
    }
}

/// What of the told numbers the captured ones are not, exactly.
pub fn differences(capture: &Capture, truths: &[Truth]) -> Vec<String> {
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
    wrong
}

/// Every number that the target told is the captured one, exactly.
pub fn assert_truth(capture: &Capture, truths: &[Truth]) {
    assert!(!truths.is_empty(), "the target told no truth");
    let wrong = differences(capture, truths);
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

/// The capture says what the target says, nothing else below the function `root`, and every call is accounted for.
pub fn assert_exact(capture: &Capture, kind: SiteKind, root: &str, truths: &[Truth]) {
    assert_truth(capture, truths);
    assert_nothing_else(capture, kind, root, truths);
    assert_conserved(capture);
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    /// A capture with one malloc site, and one of another function that nobody told about.
    fn capture() -> Capture {
        let site = |name: &str, bytes: u64| {
            format!(
                r#"{{"kind":"malloc","estimated":false,"outstanding_bytes":{bytes},"outstanding_count":1,
                "allocated_bytes":{bytes},"allocated_count":1,"oldest_seconds":0,"newest_seconds":0,
                "freed_by_cleaner":0,"stack_end":"root","frames":[{{"name":"malloc","kind":"native"}},
                {{"name":"{name}","kind":"native"}},{{"name":"work","kind":"native"}}]}}"#
            )
        };
        let text = format!(
            r#"{{"schema":"offheap.capture/1","tool":{{"version":""}},"host":{{"kernel":"","arch":""}},
            "target":{{"pid":1,"comm":"","cmdline":[],"jvm":null,"ended":false}},
            "window":{{"start":"","end":"","seconds":1}},
            "settings":{{"hooks":[],"sample_bytes":0,"stack_bytes":0}},"functions":[],
            "sites":[{},{}],"losses":{{}},
            "completeness":{{"stacks":0,"complete":0,"symbolized_frames":0,"frames":0}},
            "memory":{{"rss_start":0,"rss_end":0,"outstanding_bytes":0}},
            "self":{{"cpu_seconds":0,"max_rss":0,"probe_hits":0}}}}"#,
            site("at_one", 101),
            site("at_other", 103)
        );
        serde_json::from_str(&text).expect("the schema")
    }

    fn truth(site: &str, bytes: u64) -> Truth {
        Truth::parse(&format!(
            r#"{{"site":"{site}","kind":"malloc","outstanding_bytes":{bytes},"outstanding_count":1}}"#
        ))
    }

    /// The truth passes, and one byte more or less, another count, and no truth at all fail.
    #[test]
    fn one_byte_is_enough_to_fail() {
        assert_truth(&capture(), &[truth("at_one", 101), truth("at_other", 103)]);
        assert!(catch_unwind(|| assert_truth(&capture(), &[truth("at_one", 102)])).is_err());
        assert!(catch_unwind(|| assert_truth(&capture(), &[truth("at_nowhere", 101)])).is_err());
        assert!(catch_unwind(|| assert_truth(&capture(), &[])).is_err());
    }

    /// A site that nobody told about fails the check that there is nothing else.
    #[test]
    fn an_untold_site_is_enough_to_fail() {
        let told = [truth("at_one", 101), truth("at_other", 103)];
        assert_nothing_else(&capture(), SiteKind::Malloc, "work", &told);
        let one = catch_unwind(|| {
            assert_nothing_else(
                &capture(),
                SiteKind::Malloc,
                "work",
                &[truth("at_one", 101)],
            );
        });
        assert!(one.is_err());
    }
}
