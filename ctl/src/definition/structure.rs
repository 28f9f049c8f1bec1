//! Names, types and ranges: what the JSON Schema says of a document. Finds all that differs, in
//! words that say what would be right.

use super::document::{Path, Step};
use super::mistake::{Finding, hint};
use super::schema::Project;
use anyhow::{Context, Result};
use jsonschema::error::ValidationErrorKind as Kind;
use jsonschema::{ValidationError, Validator};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// The JSON Schema of a project file (draft 2020-12), without references.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Project>().to_value();
    tell_defaults(&mut schema);
    schema
}

/// Says what each option is where it is left out: schemars leaves out the defaults of what is not
/// written (`skip_serializing_if`), which are those of their types.
fn tell_defaults(schema: &mut Value) {
    let required = schema["required"].clone();
    let is_required = |name: &str| required.as_array().is_some_and(|names| names.iter().any(|other| other == name));
    for (name, option) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        if let Some(default) = default_of(option).filter(|_| !is_required(name) && option.get("default").is_none()) {
            option["default"] = default;
        }
        tell_defaults(option);
    }
    for part in ["items", "additionalProperties"] {
        if let Some(part) = schema.get_mut(part).filter(|part| part.is_object()) {
            tell_defaults(part);
        }
    }
}

fn default_of(option: &Value) -> Option<Value> {
    let is_null = |option: &Value| option["type"] == "null";
    match &option["type"] {
        Value::Array(_) => Some(Value::Null),
        Value::String(name) => match name.as_str() {
            "boolean" => Some(Value::Bool(false)),
            "array" => Some(Value::Array(Vec::new())),
            "object" => Some(Value::Object(Map::new())),
            _ => None,
        },
        _ => option["anyOf"].as_array().is_some_and(|kinds| kinds.iter().any(is_null)).then_some(Value::Null),
    }
}

/// Compares documents with the schema.
#[derive(Debug)]
pub struct Structure {
    schema: Value,
    validator: Validator,
}

impl Structure {
    pub fn new() -> Result<Self> {
        let schema = schema();
        let validator = jsonschema::validator_for(&schema).context("compile the schema of definitions")?;
        Ok(Structure { schema, validator })
    }

    /// Everything in which `document` is not as the schema wants it.
    pub fn findings(&self, document: &Value) -> Vec<Finding> {
        self.validator.iter_errors(document).flat_map(|error| self.explain(&error, document)).collect()
    }

    fn explain(&self, error: &ValidationError<'_>, document: &Value) -> Vec<Finding> {
        let path = steps(error.instance_path().as_str(), document);
        // The schema that has the keyword.
        let schema_path = error.schema_path().as_str();
        let owner = schema_path.rsplit_once('/').map_or("", |(owner, _)| owner);
        let schema = self.schema.pointer(owner).unwrap_or(&Value::Null);
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                let known: Vec<&str> = schema["properties"].as_object().map_or_else(Vec::new, |names| {
                    names.keys().map(String::as_str).filter(|name| !name.starts_with('$')).collect()
                });
                let what = if path.is_empty() { "key" } else { "option" };
                unexpected.iter().map(|name| unknown(&path, what, name, &known)).collect()
            }
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                vec![Finding::new(&path, format!("{name} is missing"))]
            }
            Kind::Enum { .. } | Kind::OneOfNotValid { .. } | Kind::AnyOf { .. } | Kind::Type { .. } => {
                let given = error.instance();
                let hint = given.as_str().map(|given| hint(given, words(schema))).unwrap_or_default();
                vec![Finding::new(&path, format!("must be {}, not {}{hint}", wanted(schema), shown(given)))]
            }
            Kind::Minimum { .. } | Kind::Maximum { .. } => {
                vec![Finding::new(&path, format!("must be {}, not {}", wanted(schema), shown(error.instance())))]
            }
            _ => vec![Finding::new(&path, error.to_string())],
        }
    }
}

fn unknown(path: &[Step], what: &str, name: &str, known: &[&str]) -> Finding {
    let message = format!(
        "no such {what}{}",
        match hint(name, known.iter().copied()) {
            hint if !hint.is_empty() => hint,
            _ if known.len() <= 8 => format!("; there are {}", known.join(", ")),
            _ => "; `firnctl config schema` lists them".into(),
        }
    );
    Finding::new(&[path, &[Step::Name(name.into())]].concat(), message)
}

/// A JSON pointer (RFC 6901) as steps into `document`.
fn steps(pointer: &str, document: &Value) -> Path {
    let mut node = document;
    let mut path = Path::new();
    for part in pointer.split('/').skip(1) {
        let name = part.replace("~1", "/").replace("~0", "~");
        match node {
            Value::Array(items) => {
                let index = name.parse().unwrap_or(0);
                node = items.get(index).unwrap_or(&Value::Null);
                path.push(Step::Index(index));
            }
            _ => {
                node = &node[&name];
                path.push(Step::Name(name));
            }
        }
    }
    path
}

/// What a schema allows, in words.
fn wanted(schema: &Value) -> String {
    join(alternatives(schema), "or")
}

fn alternatives(schema: &Value) -> Vec<String> {
    let below = ["anyOf", "oneOf"].iter().find_map(|name| schema[name].as_array());
    if let Some(below) = below {
        return below.iter().filter(|schema| schema["type"] != "null").flat_map(alternatives).collect();
    }
    let words = words(schema);
    if !words.is_empty() {
        return words.iter().map(ToString::to_string).collect();
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        _ => vec![],
    };
    types.into_iter().map(|name| type_wanted(name, schema)).collect()
}

fn type_wanted(name: &str, schema: &Value) -> String {
    match name {
        "boolean" => "true or false".into(),
        "string" => "a string".into(),
        "array" => match wanted(&schema["items"]).strip_prefix("a ") {
            Some(item) => format!("a list of {item}s"),
            None => "a list".into(),
        },
        "object" => "a table".into(),
        _ => {
            let kind = if name == "integer" { "a whole number" } else { "a number" };
            match (schema["minimum"].as_i64(), schema["maximum"].as_u64()) {
                (Some(least), Some(most)) => format!("{kind} from {least} to {most}"),
                (Some(least), None) => format!("{kind} of at least {least}"),
                _ => kind.into(),
            }
        }
    }
}

/// The texts that a schema allows, where it lists them.
fn words(schema: &Value) -> Vec<&str> {
    let own = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let below = ["anyOf", "oneOf"].iter().filter_map(|name| schema[name].as_array()).flatten().flat_map(words);
    own.chain(schema["const"].as_str()).chain(below).collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a table".into(),
    }
}

fn join(mut parts: Vec<String>, word: &str) -> String {
    match parts.len() {
        0 => "something else".into(),
        1 => parts.remove(0),
        count => format!("{} {word} {}", parts[..count - 1].join(", "), parts[count - 1]),
    }
}

/// `document` without the options in which something is wrong, so that the others can be read and
/// checked too; containers that are no tables go.
pub fn without(document: &Value, findings: &[Finding]) -> Value {
    let mut rest = document.clone();
    for finding in findings {
        // An item of a list takes its option along: containers.NAME.OPTION.
        let is_in_list = finding.path.iter().any(|step| matches!(step, Step::Index(_)));
        let depth = if is_in_list { finding.path.len().min(3) } else { finding.path.len() };
        let Some((last, holders)) = finding.path[..depth].split_last() else { continue };
        let holder = holders.iter().try_fold(&mut rest, |node, step| match step {
            Step::Name(name) => node.get_mut(name),
            Step::Index(index) => node.get_mut(index),
        });
        if let (Some(Value::Object(members)), Step::Name(name)) = (holder, last) {
            members.remove(name);
        }
    }
    if !rest["containers"].is_object() {
        rest["containers"] = Value::Object(serde_json::Map::new());
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::document::display_path;
    use serde_json::json;

    fn told(document: &Value) -> Vec<String> {
        let findings = Structure::new().unwrap().findings(document);
        let mut told: Vec<_> = findings.iter().map(|f| format!("{}: {}", display_path(&f.path), f.message)).collect();
        told.sort();
        told
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        let web = |option: &str, value: Value| told(&json!({"containers": {"web": {option: value}}}));
        for (option, value, message) in [
            ("hostAdress", json!("10.0.0.1"), "containers.web.hostAdress: no such option; did you mean hostAddress?"),
            ("privateNetwork", json!("yes"), "containers.web.privateNetwork: must be true or false, not \"yes\""),
            (
                "restart",
                json!("alway"),
                "containers.web.restart: must be no, on-failure or always, not \"alway\"; did you mean always?",
            ),
            ("pids", json!(0), "containers.web.pids: must be a whole number from 1 to 4194304, not 0"),
            ("rootFS", json!("./root"), "containers.web.rootFS: must be a list of strings, not \"./root\""),
            ("rootFS", json!([1]), "containers.web.rootFS[0]: must be a string, not 1"),
            (
                "privateUsers",
                json!("pik"),
                "containers.web.privateUsers: must be no, identity, pick or a whole number from 0 to 4294967295, not \"pik\"; did you mean pick?",
            ),
            ("forwardPorts", json!([{"containerPort": 80}]), "containers.web.forwardPorts[0]: hostPort is missing"),
            (
                "forwardPorts",
                json!([{"hostPort": 0}]),
                "containers.web.forwardPorts[0].hostPort: must be a whole number from 1 to 65535, not 0",
            ),
            (
                "extraVeths",
                json!({"veth1": {"hostBrige": "br0"}}),
                "containers.web.extraVeths.veth1.hostBrige: no such option; did you mean hostBridge?",
            ),
            (
                "bindMounts",
                json!({"/data": {"readOnly": false}}),
                "containers.web.bindMounts.\"/data\".readOnly: no such option; did you mean isReadOnly?",
            ),
            ("ociConfig", json!([]), "containers.web.ociConfig: must be a table, not a list"),
        ] {
            assert_eq!(web(option, value.clone()), [message], "{option} = {value}");
        }
        assert_eq!(
            told(&json!({"container": {}})),
            [": containers is missing", "container: no such key; did you mean containers?"]
        );
        assert_eq!(told(&json!({"containers": {"web": 5}})), ["containers.web: must be a table, not 5"]);
    }

    #[test]
    fn all_of_it_is_found_at_once() {
        let document = json!({"containers": {"a": {"x": 1, "memory": true, "tmpfs": ["/t", 5]}, "b": {"pids": -1}}});
        assert_eq!(told(&document).len(), 4);
        let findings = Structure::new().unwrap().findings(&document);
        assert_eq!(without(&document, &findings), json!({"containers": {"a": {}, "b": {}}}));
    }

    #[test]
    fn null_is_as_good_as_nothing_where_an_option_may_be_left_out() {
        assert!(told(&json!({"containers": {"a": {"hostAddress": null, "path": null, "memory": null}}})).is_empty());
    }
}
