//! The older text format of Prometheus, from OpenMetrics: for curl, promtool and scrapers that know nothing else.
//!
//! It differs in three things here: a counter is declared with the `_total` that its rows have, there are no units, and
//! there is no end mark.

/// The same page in the format 0.0.4.
pub fn of(open_metrics: &str) -> String {
    let mut plain = String::with_capacity(open_metrics.len() + 512);
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                plain += &format!("# HELP {name}{suffix} {text}\n");
            }
            plain += &format!("# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            plain += line;
            plain.push('\n');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counters get their suffix in the declaration, gauges stay, units and the end mark go; values are not touched.
    #[test]
    fn converted() {
        let open = "# HELP a_bytes What a is\n# TYPE a_bytes gauge\n# UNIT a_bytes bytes\na_bytes{k=\"# TYPE x\"} 1.0\n\
                    # HELP b What b\n# TYPE b counter\nb_total 2\n# EOF\n";
        let plain = "# HELP a_bytes What a is\n# TYPE a_bytes gauge\na_bytes{k=\"# TYPE x\"} 1.0\n\
                     # HELP b_total What b\n# TYPE b_total counter\nb_total 2\n";
        assert_eq!(of(open), plain);
    }
}
