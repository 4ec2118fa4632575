//! Names of functions as their source spells them.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Longest name that is written. A short mangled name can stand for one of gigabytes, by naming itself in itself.
const MAX_NAME: usize = 4096;

/// The name of a function in its language, with parameters only where C++ has several functions of the name apart.
pub fn demangle(name: &str) -> Cow<'_, str> {
    let mut out = Bounded(String::new());
    if let Ok(demangled) = rustc_demangle::try_demangle(name) {
        // Without the hash at the end.
        return match write!(out, "{demangled:#}") {
            Ok(()) => Cow::Owned(out.0),
            Err(_) => Cow::Borrowed(name),
        };
    }
    if name.starts_with("_Z")
        && let Ok(symbol) = cpp_demangle::Symbol::new(name)
        && symbol
            .structured_demangle(&mut out, &cpp_demangle::DemangleOptions::new())
            .is_ok()
    {
        return Cow::Owned(out.0);
    }
    Cow::Borrowed(name)
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_NAME {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that mangled names of C++ and Rust are spelled as in the source, and C names are left alone, also those
    /// that could be read as mangled types.
    #[test]
    fn names_are_spelled_as_in_the_source() {
        for (name, spelled) in [
            (
                "_ZN2os6mallocEm8MEMFLAGS",
                "os::malloc(unsigned long, MEMFLAGS)",
            ),
            ("_ZN3foo3bar17h0123456789abcdefE", "foo::bar"),
            ("_RNvC6_123foo3bar", "123foo::bar"),
            ("f", "f"),
            ("i", "i"),
            ("_Z", "_Z"),
            ("malloc", "malloc"),
        ] {
            assert_eq!(demangle(name), spelled);
        }
    }

    /// Proves that a name which doubles itself with every letter stays as it is, without its memory being taken.
    #[test]
    fn names_that_explode_stay_mangled() {
        let mut bomb = String::from("_Z1fP1AS_");
        for at in 0..60 {
            let last = ["S0_", "S1_", "S2_"].get(at).copied().unwrap_or("S3_");
            bomb += &format!("1BI{last}{last}E");
        }
        assert!(demangle(&bomb).len() <= MAX_NAME.max(bomb.len()));
    }
}
