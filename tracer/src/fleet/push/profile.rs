//! The profile of one period.

use std::collections::BTreeMap;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use prost::Message;

use super::spool::{About, Entry};
use crate::capture::{Capture, Target};
use crate::report::{Filter, clean, pprof};
use crate::target::launcher;

/// What was said about the profiles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// `service_name` among the labels; else the main class, else the program.
    pub labels: BTreeMap<String, String>,
    pub hostname: String,
}

/// The capture as the profile of a period.
///
/// Stores place a profile by its own time, and take one with a duration for a difference. A capture covers the time since
/// the attach: this is a look at one moment, as a Go program's heap profile is.
///
/// # Errors
/// None but those of writing to memory.
pub fn entry(
    capture: &Capture,
    filter: &Filter,
    naming: &Naming,
    from: Timestamp,
    until: Timestamp,
) -> io::Result<Entry> {
    let mut profile = pprof::profile(capture, filter)?;
    profile.time_nanos = i64::try_from(until.as_nanosecond()).unwrap_or(0);
    profile.duration_nanos = 0;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&profile.encode_to_vec())?;
    let (service, labels) = naming.of(&capture.target);
    Ok(Entry {
        about: About {
            service,
            labels,
            from: from.as_second(),
            until: until.as_second(),
        },
        profile: gzip.finish()?,
    })
}

impl Naming {
    /// The service and its labels. Labels that were given an empty value are left out.
    fn of(&self, target: &Target) -> (String, BTreeMap<String, String>) {
        let mut labels = BTreeMap::from([
            ("hostname".to_owned(), self.hostname.clone()),
            ("pid".to_owned(), target.pid.to_string()),
        ]);
        labels.extend(self.labels.clone());
        let service = labels.remove("service_name").unwrap_or_else(|| {
            let main = launcher::main_class(&target.cmdline);
            clean::name(main.as_deref().unwrap_or(&target.comm)).into_owned()
        });
        labels.retain(|_, value| !value.is_empty());
        (service, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::fixture;

    /// The service is the main class unless it is said, an empty label takes a usual one away.
    #[test]
    fn names() {
        let target = Target {
            pid: 42,
            comm: "java".to_owned(),
            cmdline: ["/usr/bin/java", "-Xmx1g", "com.acme.Main", "x"]
                .map(str::to_owned)
                .to_vec(),
            ..Target::default()
        };
        let naming = |labels: &[(&str, &str)]| {
            let labels = labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            let naming = Naming {
                labels: labels.collect(),
                hostname: "h".to_owned(),
            };
            let (service, labels) = naming.of(&target);
            let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            (service, labels.join(","))
        };
        assert_eq!(
            naming(&[]),
            ("com.acme.Main".to_owned(), "hostname=h,pid=42".to_owned())
        );
        assert_eq!(
            naming(&[("service_name", "shop"), ("pid", ""), ("env", "prod")]),
            ("shop".to_owned(), "env=prod,hostname=h".to_owned())
        );
    }

    /// Each period has a time of its own and no duration; the samples are those of the report.
    #[test]
    fn a_moment() {
        let capture = fixture::server();
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let (from, until) = (time("2026-01-02T03:04:05Z"), time("2026-01-02T03:09:05Z"));
        let filter = Filter::default();
        let made = entry(&capture, &filter, &Naming::default(), from, until).unwrap();
        assert_eq!(made.about.until - made.about.from, 300);
        let mut bytes = Vec::new();
        io::Read::read_to_end(
            &mut flate2::read::GzDecoder::new(&made.profile[..]),
            &mut bytes,
        )
        .unwrap();
        let profile = pprof::proto::Profile::decode(&bytes[..]).unwrap();
        assert_eq!(i128::from(profile.time_nanos), until.as_nanosecond());
        assert_eq!(profile.duration_nanos, 0);
        assert_eq!(
            profile.sample,
            pprof::profile(&capture, &filter).unwrap().sample
        );
    }
}
