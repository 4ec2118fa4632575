//! Makes text that came from the target harmless.
//!
//! Symbol names, paths and command lines are chosen by whoever wrote the target. Printed as they are they could move
//! the cursor of a terminal, break a line format or invalidate XML.

use std::borrow::Cow;

/// Longest name that is kept, in bytes.
pub const MAX_NAME: usize = 1024;

/// Replaces control, direction-changing and non-XML characters, trims, and cuts names that are too long.
pub fn name(raw: &str) -> Cow<'_, str> {
    let trimmed = raw.trim();
    // Most names are plain ASCII, which is seen faster.
    let is_plain = trimmed.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if trimmed.len() <= MAX_NAME && (is_plain || !trimmed.chars().any(is_hostile)) {
        return match trimmed {
            "" => Cow::Borrowed("[unnamed]"),
            fine => Cow::Borrowed(fine),
        };
    }
    let kept = cut(trimmed);
    let mut clean: String = kept
        .chars()
        .map(|c| if is_hostile(c) { '_' } else { c })
        .collect();
    if kept.len() < trimmed.len() {
        clean.push('…');
    }
    Cow::Owned(clean)
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{2028}' | '\u{2029}' // line and paragraph separators
            | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // direction
            | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that terminal escapes, line breaks and direction overrides do not survive.
    #[test]
    fn controls_are_replaced() {
        assert_eq!(name("a\x1b[31mb\nc\u{202e}d\u{9b}e"), "a_[31mb_c_d_e");
    }

    /// Proves that ordinary names, spaces and other scripts stay as they are.
    #[test]
    fn ordinary_names_are_untouched() {
        for fine in [
            "operator new(unsigned long)",
            "com.acme.Größe.λ",
            "<script>",
        ] {
            assert!(matches!(name(fine), Cow::Borrowed(same) if same == fine));
        }
    }

    /// Proves that a huge name is cut on a character boundary, and an empty one is still visible.
    #[test]
    fn length_is_bounded() {
        let long = name(&"ä".repeat(10_000)).into_owned();
        assert!(long.len() <= MAX_NAME + '…'.len_utf8() && long.ends_with('…'));
        assert_eq!(name("  \n "), "[unnamed]");
    }
}
