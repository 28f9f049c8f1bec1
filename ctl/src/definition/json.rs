//! JSON as a document: strict JSON, with the place of each value.

use super::document::{Document, Member, Node, Value};
use super::mistake::Mistake;
use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

/// RFC 8259 and nothing more.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// `origin` is how people know the text.
pub fn read(origin: &str, text: String) -> Result<Document, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let root = match parse_to_ast(&text, &CollectOptions::default(), &STRICT) {
        Ok(parsed) => match &parsed.value {
            Some(value) => node(value, origin, &text, &mut mistakes),
            None => return Err(vec![Mistake::of_text(origin, &text, 0, "the text is empty")]),
        },
        Err(error) => {
            return Err(vec![Mistake::of_text(origin, &text, error.range().start, error.kind().to_string())]);
        }
    };
    if mistakes.is_empty() { Ok(Document { origin: origin.to_owned(), text, root }) } else { Err(mistakes) }
}

fn node(value: &ast::Value<'_>, origin: &str, text: &str, mistakes: &mut Vec<Mistake>) -> Node {
    let range = value.range();
    let value = match value {
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
        ast::Value::StringLit(literal) => Value::String(literal.value.to_string()),
        ast::Value::NumberLit(literal) => match literal.value.parse() {
            Ok(number) => Value::Number(number),
            Err(_) => {
                mistakes.push(Mistake::of_text(origin, text, range.start, "this number can't be represented"));
                Value::Null
            }
        },
        ast::Value::Array(array) => {
            Value::Array(array.elements.iter().map(|item| node(item, origin, text, mistakes)).collect())
        }
        ast::Value::Object(object) => Value::Object(members(object, origin, text, mistakes)),
    };
    Node { value, span: Some(range.start..range.end) }
}

/// JSON leaves open what a repeated name means; here it is a mistake, as in TOML.
fn members(object: &ast::Object<'_>, origin: &str, text: &str, mistakes: &mut Vec<Mistake>) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for property in &object.properties {
        let name = property.name.clone().into_string();
        let at = property.name.range();
        if members.iter().any(|member| member.name == name) {
            mistakes.push(Mistake::of_text(origin, text, at.start, format!("{name:?} stands here a second time")));
            continue;
        }
        let node = node(&property.value, origin, text, mistakes);
        members.push(Member { name, name_span: Some(at.start..at.end), node });
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::document::{Position, Step};

    #[test]
    fn values_have_places() {
        let document = read("f", "{\n \"a\": [1, {\"ü\": null}]}".into()).unwrap();
        assert_eq!(document.root.to_json(), serde_json::json!({"a": [1, {"ü": null}]}));
        let path = [Step::Name("a".into()), Step::Index(1), Step::Name("ü".into())];
        assert_eq!(document.position(&path), Some(Position { line: 2, column: 12 }));
    }

    #[test]
    fn only_json_is_json() {
        for bad in ["{a: 1}", "[1,]", "// c\n1", "'a'", "0x1", "", "[1 2]", "{\"a\":1,\"a\":2}"] {
            assert!(read("f", bad.into()).is_err(), "{bad}");
        }
    }
}
