//! Names as the JVM holds them, and as reports show them.

use crate::unwind::memory::{Memory, Unreadable};

use super::layout::MethodLayout;

/// Longer names than this are cut off: class files allow 64 KiB.
const MAX_SYMBOL: u16 = 4096;
/// Digits of the address in a hidden class's name.
const MIN_SUFFIX_DIGITS: usize = 8;

/// The text of a `Symbol`.
///
/// # Errors
/// There is none at `address`.
pub fn symbol(
    memory: &impl Memory,
    layout: &MethodLayout,
    address: u64,
) -> Result<String, Unreadable> {
    if address == 0 || !address.is_multiple_of(8) {
        return Err(Unreadable);
    }
    let mut length = [0; 2];
    memory.read(address.wrapping_add(layout.symbol_length), &mut length)?;
    let length = u16::from_le_bytes(length).min(MAX_SYMBOL);
    let bytes = memory.read_vec(
        address.wrapping_add(layout.symbol_body),
        usize::from(length),
    )?;
    Ok(decode(&bytes))
}

/// Text in modified UTF-8: NUL takes two bytes, and characters beyond 16 bits are two surrogates of three bytes each.
fn decode(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => String::from(text),
        Err(_) => String::from_utf16_lossy(&utf16(bytes)),
    }
}

fn utf16(mut bytes: &[u8]) -> Vec<u16> {
    let mut units = Vec::with_capacity(bytes.len());
    while let Some((&first, rest)) = bytes.split_first() {
        let low = |index: usize| {
            rest.get(index)
                .filter(|&byte| byte & 0xc0 == 0x80)
                .map(|&byte| u16::from(byte & 0x3f))
        };
        let first = u16::from(first);
        let (unit, used) = match (first, low(0), low(1)) {
            (..0x80, ..) => (first, 0),
            (0xc0..0xe0, Some(second), _) => (((first & 0x1f) << 6) | second, 1),
            (0xe0..0xf0, Some(second), Some(third)) => {
                (((first & 0x0f) << 12) | (second << 6) | third, 2)
            }
            _ => (0xfffd, 0),
        };
        units.push(unit);
        bytes = rest.get(used..).unwrap_or_default();
    }
    units
}

/// Whether a class can be called so (JVM specification 4.2.1): what is read of memory that has been used again can't be
/// told otherwise from a name.
pub fn is_class(internal: &str) -> bool {
    !internal.is_empty()
        && !internal.contains(|c: char| c.is_control() || ".;[\u{fffd}".contains(c))
}

/// Whether a method can be called so (JVM specification 4.2.2).
pub fn is_method(name: &str) -> bool {
    let is_special = ["<init>", "<clinit>"].contains(&name);
    is_class(name) && (is_special || !name.contains(['<', '>', '/']))
}

/// A class's name with dots, and without what a hidden class has of its own: the address behind `+0x` or `/0x`, other
/// in each run.
pub fn class(internal: &str) -> String {
    hidden_suffix(internal)
        .map_or(internal, |at| &internal[..at])
        .replace('/', ".")
}

fn hidden_suffix(name: &str) -> Option<usize> {
    let at = name.rfind(['+', '/'])?;
    let suffix = &name[at + 1..];
    // JDK 8 appends a decimal number; no class or package can be called so.
    if name[at..].starts_with('/')
        && !suffix.is_empty()
        && suffix.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some(at);
    }
    let digits = suffix.strip_prefix("0x")?;
    (digits.len() >= MIN_SUFFIX_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packages get dots; suffixes of hidden classes go, and nothing that only looks like one.
    #[test]
    fn classes() {
        for (internal, shown) in [
            ("java/util/zip/Deflater", "java.util.zip.Deflater"),
            ("App$$Lambda$14+0x0000000800c03000", "App$$Lambda$14"),
            ("a/App$$Lambda$14/0x0000000840060840", "a.App$$Lambda$14"),
            ("a/App$$Lambda+0x00007f1234567890", "a.App$$Lambda"),
            ("a/App$$Lambda$14/1234567", "a.App$$Lambda$14"),
            (
                "java/lang/invoke/LambdaForm$MH/0x0000000800c02400",
                "java.lang.invoke.LambdaForm$MH",
            ),
            (
                "java/lang/invoke/LambdaForm$DMH+0x000000001a002000",
                "java.lang.invoke.LambdaForm$DMH",
            ),
            // What is numbered or hashed without being hidden is a class of its own, and keeps its name.
            (
                "jdk/internal/reflect/GeneratedMethodAccessor12",
                "jdk.internal.reflect.GeneratedMethodAccessor12",
            ),
            ("jdk/proxy1/$Proxy7", "jdk.proxy1.$Proxy7"),
            (
                "a/B$$EnhancerBySpringCGLIB$$1a2b3c4d",
                "a.B$$EnhancerBySpringCGLIB$$1a2b3c4d",
            ),
            ("a/B$ByteBuddy$Kd82ja0x", "a.B$ByteBuddy$Kd82ja0x"),
            (
                "a/B$HibernateProxy$0x12345678",
                "a.B$HibernateProxy$0x12345678",
            ),
            ("a/0xcafe", "a.0xcafe"),
            ("a/0xnothexatall", "a.0xnothexatall"),
            ("Ünïcödé/Ä", "Ünïcödé.Ä"),
            ("", ""),
        ] {
            assert_eq!(class(internal), shown);
        }
    }

    /// Modified UTF-8 with a NUL and a surrogate pair is decoded, nonsense is replaced.
    #[test]
    fn modified_utf8() {
        assert_eq!(decode(b"plain"), "plain");
        assert_eq!(decode(&[b'a', 0xc0, 0x80, b'b']), "a\0b");
        assert_eq!(decode(&[0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]), "\u{1f600}");
        assert_eq!(decode(&[0xff, b'x', 0xe0]), "\u{fffd}x\u{fffd}");
    }
}
