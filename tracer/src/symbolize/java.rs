//! Names of Java methods.

use std::collections::HashMap;

use crate::report::clean;
use crate::stack::{JavaMethod, MethodId, MethodTable};

/// `class.method` for every method seen; with parameter types where one class has several methods of a name.
#[derive(Clone, Debug, Default)]
pub struct MethodNames {
    names: Vec<String>,
}

impl MethodNames {
    pub fn new(table: &MethodTable) -> Self {
        let mut signatures: HashMap<(&str, &str), Overloads<'_>> = HashMap::new();
        for method in &table.methods {
            signatures
                .entry((&method.class, &method.name))
                .and_modify(|seen| *seen = seen.with(&method.signature))
                .or_insert(Overloads::One(&method.signature));
        }
        let overloaded = |method: &JavaMethod| {
            signatures.get(&(method.class.as_str(), method.name.as_str()))
                == Some(&Overloads::Several)
        };
        MethodNames {
            names: table
                .methods
                .iter()
                .map(|method| name(method, overloaded(method)))
                .collect(),
        }
    }

    pub fn get(&self, method: MethodId) -> Option<&str> {
        self.names.get(method.0 as usize).map(String::as_str)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Overloads<'a> {
    One(&'a str),
    Several,
}

impl<'a> Overloads<'a> {
    /// The same method can be in the table twice: redefined, or of another class loader.
    fn with(self, signature: &'a str) -> Self {
        if self == Overloads::One(signature) {
            self
        } else {
            Overloads::Several
        }
    }
}

fn name(method: &JavaMethod, overloaded: bool) -> String {
    let mut name = format!("{}.{}", method.class, method.name);
    if overloaded {
        match parameters(&method.signature) {
            Some(types) => name += &format!("({})", types.join(", ")),
            None => name += &method.signature,
        }
    }
    clean::name(&name).into_owned()
}

/// Simple type names of a descriptor's parameters: `(IIZ[Ljava/lang/String;)J` gives int, int, boolean, String[].
///
/// None for what is no descriptor (JVM specification 4.3.3).
fn parameters(descriptor: &str) -> Option<Vec<String>> {
    let mut rest = descriptor.strip_prefix('(')?;
    let mut types = Vec::new();
    while !rest.starts_with(')') {
        let element = rest.trim_start_matches('[');
        let dimensions = rest.len() - element.len();
        let (base, after) = element_type(element)?;
        types.push(format!("{base}{}", "[]".repeat(dimensions.min(255))));
        rest = after;
    }
    Some(types)
}

fn element_type(text: &str) -> Option<(&str, &str)> {
    if let Some(class) = text.strip_prefix('L') {
        let (name, after) = class.split_once(';')?;
        return Some((name.rsplit(['/', '.']).next().unwrap_or(name), after));
    }
    let word = match text.chars().next()? {
        'B' => "byte",
        'C' => "char",
        'D' => "double",
        'F' => "float",
        'I' => "int",
        'J' => "long",
        'S' => "short",
        'Z' => "boolean",
        _ => return None,
    };
    Some((word, &text[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(class: &str, name: &str, signature: &str) -> JavaMethod {
        JavaMethod {
            class: class.to_owned(),
            name: name.to_owned(),
            signature: signature.to_owned(),
            source_file: None,
        }
    }

    /// Proves that only methods with overloads in the table carry parameter types.
    #[test]
    fn overloads_are_told_apart() {
        let methods = vec![
            method("a.A", "put", "(I)V"),
            method("a.A", "put", "(Ljava/lang/String;[[J)V"),
            method("a.A", "get", "(I)I"),
            method("a.A", "get", "(I)I"),
            method("a.B", "put", "()V"),
        ];
        let names = MethodNames::new(&MethodTable { methods });
        assert_eq!(
            names.names,
            [
                "a.A.put(int)",
                "a.A.put(String, long[][])",
                "a.A.get",
                "a.A.get",
                "a.B.put"
            ]
        );
    }

    /// Proves that what is no descriptor is shown as it is and never panics.
    #[test]
    fn broken_descriptors_are_kept() {
        for broken in ["", "(", "(Q)V", "(L", "([", "(Lx", "(é)"] {
            assert_eq!(parameters(broken), None, "{broken}");
        }
        let methods = vec![method("A", "f", "(Q)V\x1b"), method("A", "f", "()V")];
        let names = MethodNames::new(&MethodTable { methods });
        assert_eq!(names.get(MethodId(0)), Some("A.f(Q)V_"));
        assert_eq!(names.get(MethodId(2)), None);
    }
}
