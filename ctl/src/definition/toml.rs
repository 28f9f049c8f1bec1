//! TOML as a document. Every error of the syntax is told, not the first alone.

use super::document::{Document, Member, Node, Value};
use super::mistake::Mistake;
use serde_json::Number;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// `origin` is how people know the text.
pub fn read(origin: &str, text: String) -> Result<Document, Vec<Mistake>> {
    let (table, errors) = DeTable::parse_recoverable(&text);
    let mut mistakes: Vec<Mistake> = errors
        .iter()
        .map(|error| Mistake::of_text(origin, &text, error.span().map_or(0, |span| span.start), error.message()))
        .collect();
    let root = object(&table, origin, &text, &mut mistakes);
    if mistakes.is_empty() { Ok(Document { origin: origin.to_owned(), text, root }) } else { Err(mistakes) }
}

fn object(table: &Spanned<DeTable<'_>>, origin: &str, text: &str, mistakes: &mut Vec<Mistake>) -> Node {
    let members = table.get_ref().iter().map(|(name, value)| Member {
        name: name.get_ref().to_string(),
        name_span: Some(name.span()),
        node: node(value, origin, text, mistakes),
    });
    Node { value: Value::Object(members.collect()), span: Some(table.span()) }
}

fn node(spanned: &Spanned<DeValue<'_>>, origin: &str, text: &str, mistakes: &mut Vec<Mistake>) -> Node {
    let span = spanned.span();
    let mut refuse = |message: String| {
        mistakes.push(Mistake::of_text(origin, text, span.start, message));
        Value::Null
    };
    let value = match spanned.get_ref() {
        DeValue::String(string) => Value::String(string.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(datetime) => Value::String(datetime.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => Value::Number(number.into()),
            Err(_) => refuse(format!("{} is larger than any number here may be", integer.as_str())),
        },
        DeValue::Float(float) => match float.as_str().parse().ok().and_then(Number::from_f64) {
            Some(number) => Value::Number(number),
            None => refuse(format!("{} is no finite number", float.as_str())),
        },
        DeValue::Array(items) => Value::Array(items.iter().map(|item| node(item, origin, text, mistakes)).collect()),
        DeValue::Table(table) => {
            let members = table.iter().map(|(name, value)| Member {
                name: name.get_ref().to_string(),
                name_span: Some(name.span()),
                node: node(value, origin, text, mistakes),
            });
            Value::Object(members.collect())
        }
    };
    Node { value, span: Some(span) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::document::Step;

    #[test]
    fn names_and_values_have_places() {
        let document = read("f", "[a.b]\nc = [1,\n  true]\n\"d e\" = 1.5\n".into()).unwrap();
        assert_eq!(document.root.to_json(), serde_json::json!({"a": {"b": {"c": [1, true], "d e": 1.5}}}));
        let path = |names: &[&str]| names.iter().map(|name| Step::Name((*name).into())).collect::<Vec<_>>();
        let at = |path: &[Step]| document.position(path).map(|p| (p.line, p.column));
        assert_eq!(at(&path(&["a", "b", "d e"])), Some((4, 1)));
        assert_eq!(at(&[path(&["a", "b", "c"]), vec![Step::Index(1)]].concat()), Some((3, 3)));
        assert_eq!(at(&path(&["a", "b", "absent"])), Some((1, 4)));
    }

    #[test]
    fn every_error_of_the_syntax_is_told() {
        let mistakes = read("f", "a = \nb = 1\nc = [\n\"d\" 5\n".into()).unwrap_err();
        assert!(mistakes.len() >= 2, "{mistakes:?}");
        let lines: Vec<_> = mistakes.iter().filter_map(|mistake| mistake.position).map(|at| at.line).collect();
        assert!(lines.contains(&1) && lines.contains(&4), "{mistakes:?}");
        assert!(read("f", "a = 99999999999999999999".into()).is_err());
        assert!(read("f", "a = nan".into()).is_err());
    }
}
