//! Limits of a definition as `linux.resources` of config.json, which is also what `firn update` takes.

use crate::definition::schema::{Definition, Size};
use crate::definition::values;
use serde_json::{Value, json};

/// Microseconds in which `cpus` are counted (sched-bwc: cpu.cfs_period_us).
const CPU_PERIOD: u64 = 100_000;

/// The limits; -1 where there is none, which also takes away one that was there before.
pub fn of(definition: &Definition) -> Value {
    let memory = definition.memory.as_ref().and_then(bytes);
    // Milliseconds would be too coarse for 0.01 of a processor.
    let quota = definition.cpus.map(|cpus| (cpus * CPU_PERIOD as f64).round() as i64);
    json!({
        "memory": {"limit": memory.unwrap_or(-1)},
        "cpu": {"quota": quota.unwrap_or(-1), "period": CPU_PERIOD},
        "pids": {"limit": definition.pids.map_or(-1, i64::from)},
    })
}

fn bytes(size: &Size) -> Option<i64> {
    let bytes = match size {
        Size::Bytes(bytes) => *bytes,
        Size::Text(text) => values::size(text).ok()?,
    };
    i64::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_in_the_kernels_units() {
        let definition = serde_json::from_value(json!({"memory": "512M", "cpus": 1.5, "pids": 100})).unwrap();
        let limits = of(&definition);
        assert_eq!(limits["memory"]["limit"], 512 << 20);
        assert_eq!(limits["cpu"]["quota"], 150_000);
        assert_eq!(limits["pids"]["limit"], 100);
        assert_eq!(of(&Definition::default())["memory"]["limit"], -1);
    }
}
