//! One definition for several containers: `instances = 3` makes NAME-1, NAME-2 and NAME-3. In
//! every text `%i` is the number, and `%%` a percent sign, as in a systemd unit.

use super::schema::{Definition, Project};
use anyhow::{Context, Result};
use serde_json::Value;

/// A container of a project.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    pub name: String,
    /// What the project calls it.
    pub definition_name: String,
    /// None where the definition makes one container.
    pub number: Option<u32>,
    pub definition: Definition,
}

/// The containers of a project, those of a definition one after the other.
pub fn expand(project: &Project) -> Result<Vec<Instance>> {
    let mut instances = Vec::new();
    for (name, definition) in &project.containers {
        let Some(count) = definition.instances else {
            let (name, definition) = (name.clone(), definition.clone());
            instances.push(Instance { definition_name: name.clone(), name, number: None, definition });
            continue;
        };
        let template = serde_json::to_value(definition).context("write a definition as JSON")?;
        for number in 1..=count {
            let own = substitute(&template, &number.to_string());
            let mut definition: Definition = serde_json::from_value(own).context("read a definition's instance")?;
            definition.instances = None;
            let instance = format!("{name}-{number}");
            instances.push(Instance {
                name: instance,
                definition_name: name.clone(),
                number: Some(number),
                definition,
            });
        }
    }
    Ok(instances)
}

fn substitute(value: &Value, number: &str) -> Value {
    match value {
        Value::String(text) => Value::String(expanded(text, number)),
        Value::Array(items) => items.iter().map(|item| substitute(item, number)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (expanded(name, number), substitute(value, number))).collect()
        }
        other => other.clone(),
    }
}

fn expanded(text: &str, number: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        result.push_str(&rest[..at]);
        let (replacement, length) = match rest.as_bytes().get(at + 1) {
            Some(b'i') => (number, 2),
            Some(b'%') => ("%", 2),
            _ => ("%", 1),
        };
        result.push_str(replacement);
        rest = &rest[at + length..];
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_differ_by_their_number() {
        let project: Project = serde_json::from_value(serde_json::json!({"containers": {
            "one": {"path": "/x%i"},
            "web": {"instances": 2, "extra": {"addressPrefix": "10.1.%i"}, "environment": {"N%i": "100%% of %i%x"}},
        }}))
        .unwrap();
        let instances = expand(&project).unwrap();
        let names: Vec<_> = instances.iter().map(|instance| instance.name.as_str()).collect();
        assert_eq!(names, ["one", "web-1", "web-2"]);
        assert_eq!(instances[0].definition.path.as_deref(), Some("/x%i"));
        let second = &instances[2].definition;
        assert_eq!(second.extra.address_prefix.as_deref(), Some("10.1.2"));
        assert_eq!(second.environment["N2"], "100% of 2%x");
    }
}
