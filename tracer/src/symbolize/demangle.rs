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
