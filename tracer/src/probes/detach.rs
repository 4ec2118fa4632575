//! Detaching: closing a link waits until no CPU runs its program any more, so the links are closed side by side.

use aya::programs::links::Link;
use aya::programs::uprobe::UProbeLink;

/// Threads that close links. Each spends its time waiting in the kernel.
const CLOSERS: usize = 16;

/// Closes all links; when it returns, the target no longer takes a trap.
pub fn detach(links: Vec<UProbeLink>) {
    let mut shares: Vec<Vec<UProbeLink>> =
        (0..CLOSERS.min(links.len())).map(|_| Vec::new()).collect();
    for (index, link) in links.into_iter().enumerate() {
        shares[index % CLOSERS].push(link);
    }
    std::thread::scope(|scope| {
        for share in shares {
            scope.spawn(move || share.into_iter().for_each(|link| drop(link.detach())));
        }
    });
}
