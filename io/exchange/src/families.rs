//! Prometheus' text format.

use std::fmt::{Display, Write};

/// A sample without a label.
pub(super) fn one<V>(value: V) -> (String, V) {
    (String::new(), value)
}

/// Writes metric families one after the other.
#[derive(Default)]
pub(super) struct Families(pub(super) String);

impl Families {
    pub(super) fn gauge<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, V)>,
    ) {
        self.family(name, "gauge", help, samples);
    }

    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, u64)>,
    ) {
        self.family(name, "counter", help, samples);
    }

    fn family<V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, V)>,
    ) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}
