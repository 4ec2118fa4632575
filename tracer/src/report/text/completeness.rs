//! Where stacks end before the thread's root, and how they agree with what the JVM says.

use crate::capture::{Anchors, Completeness, EndPlace, Place};
use crate::report::clean;
use crate::report::units::Count;

/// Lines for the honesty block, with their labels.
pub(super) fn lines(completeness: &Completeness) -> Vec<(&'static str, String)> {
    let ends = completeness.ended_at.iter().map(|place| ("", end(place)));
    let mut lines: Vec<(&'static str, String)> = ends.collect();
    if let Some(anchors) = completeness.anchors.as_ref().filter(|a| a.checked > 0) {
        lines.push(("checked", checked(anchors)));
        lines.extend(anchors.violations.iter().map(|violation| {
            let (count, place) = (Count(violation.count), location(&violation.place));
            ("", format!("{count} contradicted: the walk out of {place}"))
        }));
    }
    lines
}

fn end(ended: &EndPlace) -> String {
    format!(
        "{} {} in {}",
        Count(ended.count),
        clean::name(&ended.end),
        location(&ended.place)
    )
}

/// `deflate at /usr/lib/libz.so.1+0x1234`.
fn location(place: &Place) -> String {
    let name = clean::name(&place.name);
    match (&place.module, place.address) {
        (Some(module), Some(address)) => {
            format!("{name} at {}+{address:#x}", clean::name(module))
        }
        (Some(module), None) => format!("{name} at {}", clean::name(module)),
        (None, Some(address)) => format!("{name} at {address:#x}"),
        (None, None) => name.into_owned(),
    }
}

fn checked(anchors: &Anchors) -> String {
    let contradicted = match anchors.violated {
        0 => "none contradicted".to_owned(),
        violated => format!("{} contradicted", Count(violated)),
    };
    format!(
        "{} stacks against the JVM's own note of the last Java frame: {} agreed, {contradicted}, {} without a note",
        Count(anchors.checked),
        Count(anchors.agreed),
        Count(anchors.unknown)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Violation;

    fn place(name: &str, module: Option<&str>, address: Option<u64>) -> Place {
        Place {
            name: name.to_owned(),
            module: module.map(str::to_owned),
            address,
        }
    }

    fn texts(completeness: &Completeness) -> Vec<String> {
        let lines = lines(completeness).into_iter();
        lines
            .map(|(label, text)| format!("{label}|{text}"))
            .collect()
    }

    /// Ends and violations name module and address; names that would steer the terminal are made harmless, and nothing
    /// is said where nothing was checked.
    #[test]
    fn places_are_named() {
        let end = |place| EndPlace {
            end: "no-unwind-info".to_owned(),
            place,
            count: 1200,
        };
        let mut completeness = Completeness {
            ended_at: vec![
                end(place("odd", Some("/opt/lib\u{1b}[2J.so"), Some(0x1139))),
                end(place("[not mapped]", None, Some(0x7f00))),
            ],
            ..Completeness::default()
        };
        let ends = [
            "|1,200 no-unwind-info in odd at /opt/lib_[2J.so+0x1139",
            "|1,200 no-unwind-info in [not mapped] at 0x7f00",
        ];
        assert_eq!(texts(&completeness), ends);
        completeness.ended_at.clear();
        completeness.anchors = Some(Anchors::default());
        assert_eq!(texts(&completeness), [""; 0]);
    }

    /// What was compared is said, and a contradiction by its place.
    #[test]
    fn comparisons_are_said() {
        let mut anchors = Anchors {
            checked: 7,
            agreed: 4,
            unknown: 3,
            ..Anchors::default()
        };
        let said = |anchors: &Anchors| {
            texts(&Completeness {
                anchors: Some(anchors.clone()),
                ..Completeness::default()
            })
        };
        let begin =
            "checked|7 stacks against the JVM's own note of the last Java frame: 4 agreed, ";
        assert_eq!(
            said(&anchors),
            [format!("{begin}none contradicted, 3 without a note")]
        );
        anchors.violated = 1;
        anchors.violations = vec![Violation {
            place: place("f", Some("/l.so"), Some(16)),
            count: 1,
        }];
        let expected = [
            format!("{begin}1 contradicted, 3 without a note"),
            "|1 contradicted: the walk out of f at /l.so+0x10".to_owned(),
        ];
        assert_eq!(said(&anchors), expected);
    }
}
