//! Limits of a definition as `linux.resources` of config.json, which is also what `firn update` takes.

use crate::definition::schema::{Definition, Size};
use crate::definition::values;
use serde_json::{Value, json};

/// Microseconds in which `cpus` are counted (sched-bwc: cpu.cfs_period_us).
const CPU_PERIOD: u64 = 100_000;

/// The limits that there are. One that is not has no entry: the host may lack its controller.
pub fn of(definition: &Definition) -> Value {
    let mut limits = json!({});
    if let Some(bytes) = definition.memory.as_ref().and_then(bytes) {
        limits["memory"] = json!({"limit": bytes});
    }
    if let Some(cpus) = definition.cpus {
        // Milliseconds would be too coarse for 0.01 of a processor.
        limits["cpu"] = json!({"quota": (cpus * CPU_PERIOD as f64).round() as i64, "period": CPU_PERIOD});
    }
    if let Some(pids) = definition.pids {
        limits["pids"] = json!({"limit": pids});
    }
    limits
}

/// What makes the limits of `from` those of `to`: -1 takes one away. `None`: they are the same.
pub fn change(from: &Definition, to: &Definition) -> Option<Value> {
    let (from, mut changed) = (of(from), of(to));
    if from == changed {
        return None;
    }
    let none = json!({"memory": {"limit": -1}, "cpu": {"quota": -1, "period": CPU_PERIOD}, "pids": {"limit": -1}});
    for (name, none) in none.as_object().into_iter().flatten() {
        match (from.get(name), changed.get(name)) {
            (Some(_), None) => changed[name] = none.clone(),
            (old, new) if old == new => changed[name] = Value::Null,
            _ => {}
        }
    }
    changed.as_object_mut().into_iter().for_each(|limits| limits.retain(|_, limit| !limit.is_null()));
    Some(changed)
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
        assert_eq!(of(&Definition::default()), json!({}));
    }

    #[test]
    fn a_limit_is_set_changed_or_taken_away() {
        let definition = |value| serde_json::from_value(value).unwrap();
        let changes = |from, to| change(&definition(from), &definition(to));
        assert_eq!(changes(json!({"pids": 9}), json!({"pids": 9})), None);
        assert_eq!(changes(json!({}), json!({"pids": 9})), Some(json!({"pids": {"limit": 9}})));
        assert_eq!(
            changes(json!({"memory": "1M", "cpus": 2, "pids": 9}), json!({"memory": "1M", "pids": 8})),
            Some(json!({"cpu": {"quota": -1, "period": CPU_PERIOD}, "pids": {"limit": 8}}))
        );
    }
}
