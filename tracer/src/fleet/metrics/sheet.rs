//! Metrics as plain rows, and their encoding.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::report::clean;

/// Longest value of a label, in bytes.
const MAX_VALUE: usize = 200;

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its name is written with `_total`.
    Counter,
    Gauge,
}

impl Kind {
    fn write(self, value: f64, rows: &mut MetricEncoder<'_>, labels: &Labels) -> fmt::Result {
        // Without labels there are no braces around them.
        match (self, labels.is_empty()) {
            (Kind::Counter, true) => rows.encode_counter::<NoLabelSet, _, f64>(&value, None),
            (Kind::Gauge, true) => rows.encode_gauge(&value),
            (Kind::Counter, false) => {
                let mut row = rows.encode_family(labels)?;
                row.encode_counter::<NoLabelSet, _, f64>(&value, None)
            }
            (Kind::Gauge, false) => rows.encode_family(labels)?.encode_gauge(&value),
        }
    }
}

/// All rows of one name.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    rows: BTreeMap<Labels, f64>,
}

#[derive(Debug, Default)]
pub struct Sheet(Vec<Family>);

impl Sheet {
    /// Adds rows under a name; without any, the name is left out.
    pub fn family(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        rows: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let rows: BTreeMap<Labels, f64> = rows.into_iter().collect();
        if !rows.is_empty() {
            self.0.push(Family {
                name,
                help,
                kind,
                rows,
            });
        }
    }

    /// Adds a name with one row that needs no label.
    pub fn single(&mut self, kind: Kind, name: &'static str, help: &'static str, value: f64) {
        self.family(kind, name, help, [(Labels::new(), value)]);
    }

    /// Raises counters to what they were at the page before.
    pub fn never_less(&mut self, highest: &mut BTreeMap<String, f64>) {
        let counters = self
            .0
            .iter_mut()
            .filter(|family| family.kind == Kind::Counter);
        for family in counters {
            for (labels, value) in &mut family.rows {
                let highest = highest
                    .entry(format!("{}{labels:?}", family.name))
                    .or_insert(*value);
                *highest = highest.max(*value);
                *value = *highest;
            }
        }
    }

    /// # Errors
    /// None but those of writing to memory.
    pub fn open_metrics(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::new(self)));
        let mut page = String::new();
        text::encode(&mut page, &registry)?;
        Ok(page)
    }
}

impl Collector for Sheet {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in &self.0 {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut rows = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.rows {
                family.kind.write(*value, &mut rows, labels)?;
            }
        }
        Ok(())
    }
}

/// Text from the target as the value of a label.
pub fn value(text: &str) -> String {
    let clean = clean::name(text);
    let mut end = clean.len().min(MAX_VALUE);
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    clean[..end].to_owned()
}
