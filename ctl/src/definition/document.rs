//! A file as a tree of values, each with its place, whatever the file's language.

use std::ops::Range;

/// A value and the bytes of the text that it stands in; none where it was evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub value: Value,
    pub span: Option<Range<usize>>,
}

/// The values that TOML, JSON and Nix have in common.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    String(String),
    Array(Vec<Node>),
    /// In the order of the text.
    Object(Vec<Member>),
}

/// A name and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub name: String,
    pub name_span: Option<Range<usize>>,
    pub node: Node,
}

/// One step of the way from the root of a document to a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Name(String),
    Index(usize),
}

/// The way from the root to a value.
pub type Path = Vec<Step>;

/// A text that was read, and what it says.
#[derive(Debug)]
pub struct Document {
    /// How people know it: a path, `standard input`, or `-E`.
    pub origin: String,
    pub text: String,
    pub root: Node,
}

/// Line and column, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    /// That of a byte of `text`.
    pub fn of(text: &str, offset: usize) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Position { line, column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1 }
    }
}

impl Document {
    /// Where the value at `path` stands: its name where it has one, since a mistake is looked for
    /// there. What is not in the text has the place of what would hold it.
    pub fn position(&self, path: &[Step]) -> Option<Position> {
        let mut node = &self.root;
        let mut found = None;
        for step in path {
            let (next, span) = match (step, &node.value) {
                (Step::Name(name), Value::Object(members)) => {
                    let Some(member) = members.iter().find(|member| member.name == *name) else { break };
                    (&member.node, member.name_span.as_ref().or(member.node.span.as_ref()))
                }
                (Step::Index(index), Value::Array(items)) => {
                    let Some(item) = items.get(*index) else { break };
                    (item, item.span.as_ref())
                }
                _ => break,
            };
            found = span.or(found);
            node = next;
        }
        found.map(|span| Position::of(&self.text, span.start))
    }
}

impl Node {
    /// The same without places.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => number.clone().into(),
            Value::String(text) => text.as_str().into(),
            Value::Array(items) => items.iter().map(Node::to_json).collect(),
            Value::Object(members) => {
                members.iter().map(|member| (member.name.clone(), member.node.to_json())).collect()
            }
        }
    }

    /// A value that has no place: it was evaluated.
    pub fn from_json(json: serde_json::Value) -> Self {
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(number) => Value::Number(number),
            serde_json::Value::String(text) => Value::String(text),
            serde_json::Value::Array(items) => Value::Array(items.into_iter().map(Node::from_json).collect()),
            serde_json::Value::Object(members) => Value::Object(
                members
                    .into_iter()
                    .map(|(name, json)| Member { name, name_span: None, node: Node::from_json(json) })
                    .collect(),
            ),
        };
        Node { value, span: None }
    }
}

/// A path as people write it: `containers.web.bindMounts."/data"`.
pub fn display_path(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Name(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                let is_bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
                if is_bare { text.push_str(name) } else { text.push_str(&format!("{name:?}")) }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let text = "a = 1\nü = ä\n";
        let at = text.find('ä').unwrap();
        assert_eq!(Position::of(text, at), Position { line: 2, column: 5 });
        assert_eq!(Position::of(text, 0), Position { line: 1, column: 1 });
        assert_eq!(Position::of(text, 999), Position { line: 3, column: 1 });
    }

    #[test]
    fn names_that_are_not_bare_are_quoted() {
        let path = [Step::Name("a-b".into()), Step::Name("/x y".into()), Step::Index(2), Step::Name("z".into())];
        assert_eq!(display_path(&path), "a-b.\"/x y\"[2].z");
    }
}
