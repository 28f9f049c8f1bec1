//! The middle and the spread of samples.

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    pub min: f64,
    pub lower: f64,
    pub median: f64,
    pub upper: f64,
    pub p90: f64,
}

impl Summary {
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| match sorted.len() {
            0 => 0.0,
            length => {
                let place = share * (length - 1) as f64;
                let (below, above) = (place.floor() as usize, place.ceil() as usize);
                sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor())
            }
        };
        Summary { min: at(0.0), lower: at(0.25), median: at(0.5), upper: at(0.75), p90: at(0.9) }
    }

    /// Of the ratios of samples that were taken in the same round.
    pub fn of_ratios(samples: &[f64], base: &[f64]) -> Self {
        let ratios: Vec<f64> = samples.iter().zip(base).map(|(sample, base)| sample / base).collect();
        Self::of(&ratios)
    }

    pub fn json(&self) -> serde_json::Value {
        let round = |number: f64| (number * 1000.0).round() / 1000.0;
        serde_json::json!({"min": round(self.min), "lower": round(self.lower), "median": round(self.median),
                           "upper": round(self.upper), "p90": round(self.p90)})
    }
}
