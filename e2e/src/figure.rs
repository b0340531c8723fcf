//! A table of what was measured beside what is required.

/// One line of the table.
pub struct Figure {
    /// What is measured.
    pub metric: String,
    /// The most it may be; infinite where it is only told.
    pub required: f64,
    /// Of both.
    pub unit: &'static str,
    /// Sorted.
    pub measured: Vec<f64>,
}

impl Figure {
    /// Of these measurements.
    pub fn new(metric: impl Into<String>, required: f64, unit: &'static str, mut measured: Vec<f64>) -> Self {
        measured.sort_by(f64::total_cmp);
        Self { metric: metric.into(), required, unit, measured }
    }

    /// Of one measurement that nothing is required of.
    pub fn told(metric: impl Into<String>, unit: &'static str, measured: f64) -> Self {
        Self::new(metric, f64::INFINITY, unit, vec![measured])
    }

    fn at(&self, share: f64) -> f64 {
        let last = self.measured.len().saturating_sub(1);
        self.measured.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
    }

    /// The worst of all counts, not the usual one.
    pub fn kept(&self) -> bool {
        self.at(1.0) <= self.required
    }

    fn line(&self) -> String {
        let number = |value: f64| if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") };
        let (required, verdict) = match (self.required.is_finite(), self.kept()) {
            (true, kept) => (self.required.to_string(), if kept { "ok" } else { "MISSED" }),
            (false, _) => (String::new(), ""),
        };
        format!(
            "{:<52} {:>9} {:>8} {:>8} {:>8}  {verdict}",
            self.metric,
            format!("{required} {}", self.unit),
            number(self.at(0.5)),
            number(self.at(0.95)),
            number(self.at(1.0)),
        )
    }
}

/// Prints the table.
pub fn print(figures: &[Figure]) {
    println!("{:<52} {:>9} {:>8} {:>8} {:>8}", "metric", "required", "median", "p95", "worst");
    figures.iter().for_each(|figure| println!("{}", figure.line()));
}
