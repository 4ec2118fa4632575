//! `NAME=OPEN(ret|argN)/CLOSE(argN)[/REF(argN)][/reopen][@library regex]`.

use std::collections::HashSet;
use std::mem::discriminant;

use regex::RegexBuilder;

use super::{Object, Origin, Pair, Part, Place, Reopening, Role, Success, Width};

/// Functions of one pair.
const MOST_FUNCTIONS: usize = 128;
/// Bytes of a declaration, and of one symbol or name in it.
const LONGEST: usize = 16 << 10;
const LONGEST_SYMBOL: usize = 1024;
const LONGEST_NAME: usize = 64;
/// Arguments that come in registers: System V AMD64 has six, and offheap reads as many on aarch64.
const ARGUMENTS: u32 = 6;
/// Memory that a library's pattern may take when compiled.
const PATTERN_BYTES: usize = 1 << 20;

const FORM: &str = "the form is NAME=OPEN(ret|argN)/CLOSE(argN)[@library regex]";

/// The parts of a declaration that are text yet.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub name: &'a str,
    pub open: &'a str,
    pub close: &'a str,
    pub refer: Option<&'a str>,
    pub reopening: Reopening,
    pub library: Option<&'a str>,
}

/// Reads a declaration in one line.
///
/// # Errors
/// A sentence for the user, in lower case.
pub fn parse(text: &str) -> Result<Pair, String> {
    if text.len() > LONGEST {
        return Err(format!("longer than {LONGEST} bytes"));
    }
    let (name, rest) = text
        .split_once('=')
        .ok_or_else(|| format!("it has no name: {FORM}"))?;
    // No symbol has an `@`; a pattern may have anything.
    let (functions, library) = match rest.split_once('@') {
        Some((functions, library)) => (functions, Some(library)),
        None => (rest, None),
    };
    let mut segments = functions.split('/').map(str::trim);
    let open = segments.next().unwrap_or_default();
    let close = segments
        .next()
        .ok_or_else(|| format!("it has no CLOSE: {FORM}"))?;
    let (mut refer, mut reopening) = (None, Reopening::Another);
    for segment in segments {
        match segment {
            "reopen" => reopening = Reopening::Reference,
            functions if refer.is_none() => refer = Some(functions),
            more => return Err(format!("`{more}` is one `/` too many: {FORM}")),
        }
    }
    Parts {
        name: name.trim(),
        open,
        close,
        refer,
        reopening,
        library,
    }
    .pair()
}

impl Parts<'_> {
    /// # Errors
    /// A sentence for the user, in lower case.
    pub fn pair(self) -> Result<Pair, String> {
        check_name(self.name)?;
        let mut roles = side("OPEN", self.open, opening)?;
        roles.extend(side("CLOSE", self.close, |object, success| {
            other("CLOSE", Part::Close, object, success)
        })?);
        if let Some(refer) = self.refer {
            roles.extend(side("REF", refer, |object, success| {
                other("REF", Part::Refer, object, success)
            })?);
        }
        check_roles(&roles)?;
        let library = self.library.map(pattern).transpose()?;
        Ok(Pair {
            name: self.name.to_owned(),
            roles,
            library,
            reopening: self.reopening,
            origin: Origin::Declared,
        })
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-' | '.');
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !begins || !name.chars().all(fits) || name.len() > LONGEST_NAME || name.ends_with(' ') {
        return Err(format!(
            "the name `{}` has to begin with a letter, and have up to {LONGEST_NAME} letters, digits, spaces, `_`, `-`, `.`",
            shown(name)
        ));
    }
    Ok(())
}

fn check_roles(roles: &[Role]) -> Result<(), String> {
    if roles.len() > MOST_FUNCTIONS {
        return Err(format!(
            "{} functions are too many for one pair: at most {MOST_FUNCTIONS}",
            roles.len()
        ));
    }
    // A function may close one object and open another.
    let mut seen = HashSet::new();
    for role in roles {
        if !seen.insert((&role.symbol, discriminant(&role.part))) {
            return Err(format!("`{}` stands twice in it", role.symbol));
        }
    }
    let width = roles.first().map(|role| role.object.width);
    match roles.iter().find(|role| Some(role.object.width) != width) {
        Some(other) => Err(format!(
            "`{}` differs from the others in `:32`: an object has one name, so all have it or none",
            other.symbol
        )),
        None => Ok(()),
    }
}

/// `open|open2(ret)|open3(*arg1, ret=0)`: functions, each group with where their object is.
fn side(
    what: &str,
    text: &str,
    part: impl Fn(Object, Success) -> Result<Part, String>,
) -> Result<Vec<Role>, String> {
    let mut roles = Vec::new();
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(format!("it has no {what}: {FORM}"));
    }
    while !rest.is_empty() {
        let (symbols, behind) = rest.split_once('(').ok_or_else(|| {
            format!(
                "`{}` does not say where its object is: (ret) or (arg0), and so on",
                shown(rest)
            )
        })?;
        let (place, after) = behind
            .split_once(')')
            .ok_or_else(|| format!("a `)` is missing behind `{}`", shown(place_of(behind))))?;
        let (object, success) = object(place)?;
        let part = part(object, success)?;
        for symbol in symbols.split('|') {
            let symbol = check_symbol(what, symbol.trim())?;
            roles.push(Role {
                symbol,
                part,
                object,
                beside: None,
            });
        }
        let after = after.trim_start();
        rest = match after.strip_prefix('|') {
            Some(more) if !more.trim().is_empty() => more.trim_start(),
            None if after.is_empty() => after,
            _ => return Err(format!("`{}` makes no sense behind a `)`", shown(after))),
        };
    }
    Ok(roles)
}

fn place_of(behind: &str) -> &str {
    behind.split(['|', '/']).next().unwrap_or_default()
}

fn check_symbol(what: &str, symbol: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '.');
    if symbol.is_empty() {
        return Err(format!("a function of {what} has no name"));
    }
    if !symbol.chars().all(fits) || symbol.len() > LONGEST_SYMBOL {
        return Err(format!(
            "`{}` is no symbol: C++ functions are called by their mangled names, as `nm -D` shows them",
            shown(symbol)
        ));
    }
    Ok(symbol.to_owned())
}

/// `ret`, `arg1`, `*arg1`, each also with `:32`, and when the call has succeeded.
fn object(text: &str) -> Result<(Object, Success), String> {
    let (place, success) = match text.split_once(',') {
        None => (text.trim(), Success::Always),
        Some((place, condition)) => (place.trim(), success(condition)?),
    };
    let (place, width) = match place.strip_suffix(":32") {
        Some(place) => (place, Width::Number),
        None => (place, Width::Whole),
    };
    let wrong = || {
        format!(
            "`{}` is neither ret nor arg0 to arg{} nor *arg0 to *arg{}",
            shown(place),
            ARGUMENTS - 1,
            ARGUMENTS - 1
        )
    };
    let argument = |text: &str| -> Result<u32, String> {
        let digits = text.strip_prefix("arg").ok_or_else(wrong)?;
        let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        match digits.parse() {
            Ok(n) if plain && n < ARGUMENTS => Ok(n),
            Err(_) if !plain => Err(wrong()),
            _ => Err(format!(
                "arg{}: arguments are numbered from 0, and only the first {ARGUMENTS} come in registers",
                shown(digits)
            )),
        }
    };
    let place = match (place, place.strip_prefix('*')) {
        ("ret", _) => Place::Result,
        (_, Some(pointer)) => Place::Behind(argument(pointer)?),
        (plain, None) => Place::Argument(argument(plain)?),
    };
    Ok((Object { place, width }, success))
}

fn success(text: &str) -> Result<Success, String> {
    let condition: String = text.chars().filter(|c| *c != ' ').collect();
    match condition.as_str() {
        "ret=0" => Ok(Success::Zero),
        "ret!=0" => Ok(Success::NotZero),
        other => Err(format!(
            "`{}` is no condition: ret=0 or ret!=0",
            shown(other)
        )),
    }
}

fn opening(object: Object, success: Success) -> Result<Part, String> {
    match (object.place, success) {
        (Place::Result, Success::Zero | Success::NotZero) => Err(
            "where the object is what the function returns (ret), a condition on ret says nothing: 0 and -1 are failures"
                .to_owned(),
        ),
        _ => Ok(Part::Open(success)),
    }
}

fn other(what: &str, part: Part, object: Object, success: Success) -> Result<Part, String> {
    if object.place == Place::Result {
        return Err(format!(
            "{what} is looked at when it is entered, so that its object has to be an argument: (arg0), and so on"
        ));
    }
    match success {
        Success::Always => Ok(part),
        _ => Err(format!(
            "a condition says something of OPEN only, not of {what}"
        )),
    }
}

fn pattern(text: &str) -> Result<regex::Regex, String> {
    if text.trim().is_empty() {
        return Err("nothing stands behind the `@`: a pattern of library paths".to_owned());
    }
    RegexBuilder::new(text.trim())
        .size_limit(PATTERN_BYTES)
        .build()
        .map_err(|error| {
            // The crate's message draws a picture of several lines; the last one is the reason.
            let says = error.to_string();
            let reason = says.lines().last().unwrap_or_default();
            format!(
                "the library `{}` is not a regular expression: {}",
                shown(text),
                reason.trim_start_matches("error: ")
            )
        })
}

/// What was typed, short enough for a message, and without control characters.
fn shown(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '?' } else { c };
    let mut short: String = text.chars().take(40).map(clean).collect();
    if short.len() < text.len() && text.chars().nth(40).is_some() {
        short.push('…');
    }
    short
}
