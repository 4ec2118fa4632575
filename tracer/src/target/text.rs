//! Text that comes from the target, made safe to print.

/// Longest piece that is printed, in characters.
const LONGEST: usize = 512;

/// The text with control characters (which could drive a terminal) and invalid UTF-8 replaced, and cut at a bound.
pub fn printable(raw: &[u8]) -> String {
    // Four bytes are the longest character, so that the bound on characters also bounds what is decoded.
    let bounded = raw.get(..LONGEST * 4).unwrap_or(raw);
    let text = String::from_utf8_lossy(bounded);
    let mut safe: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(LONGEST).is_some() || bounded.len() < raw.len() {
        safe.push('…');
    }
    safe
}

/// Control characters, and the format characters that reorder text on the screen.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Escape sequences and newlines don't reach the terminal, and the length is bounded.
    #[test]
    fn hostile_text() {
        assert_eq!(printable(b"a\x1b[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
        assert_eq!(printable("x\u{202e}y".as_bytes()), "x\u{fffd}y");
        assert_eq!(printable(&vec![b'a'; 1 << 20]).chars().count(), LONGEST + 1);
        assert_eq!(printable(&[0xff, b'a']), "\u{fffd}a");
    }

    proptest! {
        /// Whatever comes in, what goes out is short and has nothing that steers a terminal.
        #[test]
        fn any_bytes(raw in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let safe = printable(&raw);
            prop_assert!(safe.chars().count() <= LONGEST + 1);
            prop_assert!(!safe.chars().any(steers));
        }
    }
}
