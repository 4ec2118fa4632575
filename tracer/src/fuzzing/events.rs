//! Records of the ring.

use crate::events::{Event, copy_used, parse};

/// Reads `data` as one record, as it comes from the ring.
///
/// # Panics
/// An event has bytes that the record has not.
pub fn events(data: &[u8]) {
    let used = copy_used(data);
    assert!(used.len() <= data.len());
    let Some(event) = parse(used.clone()) else {
        return;
    };
    if let Some(made) = event.made() {
        let stack = &made.stack;
        assert!(stack.bytes.len() <= used.len());
        // The copy begins at the stack pointer and ends with a page.
        let end = stack.sp.wrapping_add(stack.bytes.len() as u64);
        assert!(
            stack.bytes.is_empty() || end.is_multiple_of(4096),
            "{stack:?}"
        );
    }
    let carries_none =
        is_end(&event) || matches!(&event, Event::Allocated(made) if made.stack_lost);
    assert_eq!(event.made().is_none(), carries_none);
    let left = crate::events::without_stack(data);
    assert!(left.is_none_or(|left| left.len() <= data.len()));
}

fn is_end(event: &Event) -> bool {
    matches!(
        event,
        Event::Freed(_) | Event::FreedUnknown(_) | Event::Closed { .. } | Event::Unmapped { .. }
    )
}
