//! A short name for a site that is the same in every run.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::capture::Site;
use crate::report::listing::kind_word;

/// Bytes of the hash that are kept: two of 10,000 sites share a name with a probability of 3 in 10^12.
const KEPT: usize = 8;

/// Hash of all that tells sites apart: kind, thread, where the stack ended, and of each frame its name, module, file and
/// line. Names are masked when they are made (addresses of hidden classes), and how the JVM ran a method does not count,
/// so that restarts of one build give the same.
pub fn of(site: &Site) -> String {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        // The length keeps `ab` + `c` and `a` + `bc` apart.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    part(kind_word(site.kind));
    part(site.thread.as_deref().unwrap_or_default());
    part(&site.stack_end);
    for frame in &site.frames {
        part(&frame.name);
        part(frame.module.as_deref().unwrap_or_default());
        part(frame.file.as_deref().unwrap_or_default());
        part(&frame.line.unwrap_or_default().to_string());
    }
    let digest = hash.finalize();
    digest
        .iter()
        .take(KEPT)
        .fold(String::with_capacity(2 * KEPT), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;
    use crate::capture::{FrameKind, SiteKind};
    use crate::report::tests::fixture;

    fn site() -> Site {
        fixture::server().sites.swap_remove(0)
    }

    /// What a warmed-up JVM and the moment change does not change the name; the name itself is part of dashboards.
    #[test]
    fn stable() {
        let first = site();
        let mut later = site();
        for frame in &mut later.frames {
            Arc::make_mut(frame).kind = FrameKind::C2;
        }
        later.outstanding_bytes += 1;
        later.oldest_seconds = 1e6;
        assert_eq!(of(&first), of(&later));
        assert_eq!(of(&first), "06af43aad5514546");
    }

    /// Whatever a reader can tell sites apart by gives another name.
    #[test]
    fn distinct() {
        let changes: [fn(&mut Site); 6] = [
            |_| {},
            |site| site.kind = SiteKind::Mmap,
            |site| site.thread = Some("main".to_owned()),
            |site| site.stack_end = "truncated".to_owned(),
            |site| Arc::make_mut(&mut site.frames[0]).line = Some(4711),
            |site| {
                // The same letters, in other frames.
                let last = Arc::make_mut(&mut site.frames[0]).name.pop().unwrap();
                Arc::make_mut(&mut site.frames[1]).name.insert(0, last);
            },
        ];
        let names: HashSet<String> = changes
            .iter()
            .map(|change| {
                let mut site = site();
                change(&mut site);
                of(&site)
            })
            .collect();
        assert_eq!(names.len(), changes.len());
    }
}
