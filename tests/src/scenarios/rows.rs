//! JDKs and flags that scenarios are played with.

use std::fmt;

use crate::jdk::Jdk;
use crate::triage::{COLLECTORS, STEADY, jdk};

/// One JVM.
pub struct Row {
    pub jdk: Jdk,
    pub flags: Vec<&'static str>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JDK {} with {}", self.jdk, self.flags.join(" "))
    }
}

fn steady(jdk: Jdk, flags: &[&'static str]) -> Row {
    Row {
        jdk,
        flags: [&STEADY[..], flags].concat(),
    }
}

/// The usual JDK with G1 and a heap that can't grow.
pub fn usual() -> Vec<Row> {
    jdk()
        .map(|jdk| steady(jdk, &[COLLECTORS[0]]))
        .into_iter()
        .collect()
}

/// The same, with `flags` and no others.
pub fn with(flags: &[&'static str]) -> Vec<Row> {
    jdk()
        .map(|jdk| Row {
            jdk,
            flags: flags.to_vec(),
        })
        .into_iter()
        .collect()
}

/// The usual JVM, then each JDK with each collector that it has.
pub fn collectors() -> Vec<Row> {
    let mut rows = usual();
    for jdk in Jdk::downloaded() {
        for collector in COLLECTORS {
            let is_usual = rows.first().is_some_and(|usual| usual.jdk == jdk);
            if !is_usual || collector != COLLECTORS[0] {
                rows.push(steady(jdk.clone(), &[collector]));
            }
        }
        for flags in [
            &["-XX:+UseShenandoahGC"][..],
            &["-XX:+UseZGC", "-XX:+ZGenerational"],
        ] {
            // From 24 on ZGC has generations anyway, and the flag is only warned about.
            let is_new = flags.len() == 1 || jdk.release < 24;
            if is_new && jdk.has(&[&["-XX:+UnlockExperimentalVMOptions"], flags].concat()) {
                rows.push(steady(jdk.clone(), flags));
            }
        }
    }
    rows
}

/// The usual JVM, then each JDK once, so that each collector is met.
pub fn releases() -> Vec<Row> {
    let mut rows = usual();
    let others = COLLECTORS.iter().chain(&["-XX:+UseShenandoahGC"]).skip(1);
    for (jdk, collector) in Jdk::downloaded().into_iter().zip(others.cycle()) {
        rows.push(steady(jdk, &[collector]));
    }
    rows
}
