//! Sampling by bytes: estimates, and how far from the truth they may be.

use std::process::Command;

use offheap::capture::{Capture, SiteKind};
use offheap_tests::{
    CFlags, Target, Tool, Truth, assert_conserved, c_program, session, sites_through, sum,
};

/// Mean sampling interval in bytes.
const INTERVAL: f64 = 65536.0;
const ROUNDS: usize = 6;

/// How many standard errors the estimate of one size lies beside the truth.
///
/// An allocation of S bytes is kept with p = 1 − e^(−S/R), or always where S ≥ R, and stands for S/p bytes; the variance
/// of what it contributes is S²(1 − p)/p.
fn deviation(estimate: u64, size: f64, count: f64) -> f64 {
    let p = 1.0 - (-size / INTERVAL).exp();
    let error = (count * size * size * (1.0 - p) / p).sqrt();
    (estimate as f64 - count * size) / error
}

fn deviations(capture: &Capture, truths: &[Truth]) -> Vec<f64> {
    let mut all = Vec::new();
    for truth in truths {
        let size: f64 = truth
            .site
            .trim_start_matches("at_")
            .parse()
            .expect("a site is named after its size");
        let got = sum(&sites_through(capture, SiteKind::Malloc, &truth.site));
        let (outstanding, allocated) = (truth.outstanding_count, truth.allocated_count);
        let (outstanding, allocated) = (
            outstanding.expect("told") as f64,
            allocated.expect("told") as f64,
        );
        if size >= INTERVAL {
            assert_eq!(
                Some(got.outstanding_bytes),
                truth.outstanding_bytes,
                "blocks of {size} are always kept"
            );
            assert_eq!(
                Some(got.allocated_bytes),
                truth.allocated_bytes,
                "blocks of {size} are always kept"
            );
            continue;
        }
        all.push(deviation(got.outstanding_bytes, size, outstanding));
        all.push(deviation(got.allocated_bytes, size, allocated));
        // The objects are estimated with the same relative error.
        all.push(deviation(
            (got.outstanding_count as f64 * size) as u64,
            size,
            outstanding,
        ));
    }
    all
}

/// Over several captures of known sizes the estimates scatter around the truth as byte sampling must: each within five
/// standard errors, their mean within five of its own, and not without any scatter; blocks above the interval are exact.
#[test]
fn estimates_are_unbiased() {
    let Some(_session) = session() else { return };
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut target = Target::start(&mut Command::new(c_program("sampled", CFlags::default())));
        let tool = Tool::capture(
            target.pid(),
            &["--hooks", "malloc", "--sample-bytes", "64k"],
        );
        let truths = target.work();
        let capture = tool.finish();
        assert_conserved(&capture);
        assert_estimated(&capture);
        rounds.push(deviations(&capture, &truths));
    }

    let all: Vec<f64> = rounds.iter().flatten().copied().collect();
    assert!(
        all.iter().all(|z| z.abs() < 5.0),
        "an estimate is too far off, in standard errors: {rounds:?}"
    );
    // The numbers of one size within a round depend on each other, so that rounds × 3 sizes are independent.
    let independent = (ROUNDS * 3) as f64;
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    assert!(
        mean.abs() < 5.0 / independent.sqrt(),
        "the estimates are biased by {mean} standard errors: {rounds:?}"
    );
    let scatter = all.iter().map(|z| z * z).sum::<f64>() / all.len() as f64;
    assert!(
        (0.1..5.0).contains(&scatter),
        "the scatter is {scatter} of what sampling gives: {rounds:?}"
    );
}

fn assert_estimated(capture: &Capture) {
    for site in sites_through(capture, SiteKind::Malloc, "at_1009") {
        assert!(
            site.estimated,
            "a sampled number is called an estimate: {site:#?}"
        );
    }
    let unsampled: u64 = capture
        .functions
        .iter()
        .map(|function| function.unsampled)
        .sum();
    assert!(
        unsampled > 10_000,
        "most small blocks are left out, but only {unsampled} were"
    );
}

/// The default interval is 512 KiB, and 0 turns sampling off.
#[test]
fn the_default_interval_is_512_kib() {
    let Some(_session) = session() else { return };
    for (flags, interval) in [
        (&["--hooks", "malloc"][..], 512 * 1024),
        (&["--sample-bytes", "exact"][..], 0),
    ] {
        let mut target =
            Target::start(Command::new(c_program("flood", CFlags::default())).args(["10", "101"]));
        let tool = Tool::capture(target.pid(), flags);
        target.work();
        assert_eq!(tool.finish().settings.sample_bytes, interval);
    }
}
