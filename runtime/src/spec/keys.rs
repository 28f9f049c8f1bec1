//! Keys of config.json are matched without case, as by Go's encoding/json (`Unmarshal`), and so
//! by runc, containerd and podman: with them `"nonewprivileges": true` sets no_new_privs. If it
//! were ignored as unknown, the container would have more privileges than under runc. Keys of
//! maps (annotations, sysctl, …) keep their case.

use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::{Deserializer, forward_to_deserialize_any};
use std::fmt;

type Fields = &'static [&'static str];

/// `serde_json::from_slice`, with keys of structs in any case. A key that occurs twice, also in
/// different cases: objects are merged, as by Go; equal values are accepted; different ones,
/// of which Go takes the last, are an error. So is an array for a struct, which serde would
/// accept.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    let mut json = serde_json::Deserializer::from_slice(text);
    match T::deserialize(AnyCase::<_, false>(&mut json)) {
        Ok(value) => json.end().map(|()| value),
        // Rare and slower: duplicate keys.
        Err(error) if error.to_string().starts_with("duplicate field") => from_value(serde_json::from_slice(text)?),
        Err(error) => Err(error),
    }
}

/// The same for a parsed value.
pub fn from_value<T: DeserializeOwned>(value: serde_json::Value) -> serde_json::Result<T> {
    T::deserialize(AnyCase::<_, true>(value))
}

/// The spelling of `field` in `object`, or `field` itself.
pub fn find<'a>(object: &'a serde_json::Map<String, serde_json::Value>, field: &'a str) -> &'a str {
    if object.contains_key(field) {
        return field;
    }
    object.keys().find(|key| is_same(key, field)).map_or(field, |key| key.as_str())
}

/// Go folds case by Unicode: two letters outside ASCII fold to ASCII (U+017F, U+212A).
fn is_same(key: &str, field: &str) -> bool {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(field.chars().map(fold))
}

/// A deserializer that gives each struct its own spelling of the keys. With `MERGES` a key may
/// occur twice.
struct AnyCase<D, const MERGES: bool>(D);

impl<'de, D: Deserializer<'de>, const MERGES: bool> Deserializer<'de> for AnyCase<D, MERGES> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Inside::<_, MERGES> { visitor, fields: &[] })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Inside::<_, MERGES> { visitor, fields: &[] })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: Fields,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, fields, Inside::<_, MERGES> { visitor, fields })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_ignored_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier
    }
}

/// A visitor that wraps the values below it. `fields`: the keys of a struct.
struct Inside<V, const MERGES: bool> {
    visitor: V,
    fields: Fields,
}

impl<'de, V: Visitor<'de>, const MERGES: bool> Visitor<'de> for Inside<V, MERGES> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(formatter)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.visitor.visit_bool(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.visitor.visit_i64(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.visitor.visit_u64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        self.visitor.visit_f64(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<V::Value, E> {
        self.visitor.visit_str(value)
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<V::Value, E> {
        self.visitor.visit_borrowed_str(value)
    }

    fn visit_string<E: Error>(self, value: String) -> Result<V::Value, E> {
        self.visitor.visit_string(value)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(AnyCase::<_, MERGES>(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        if !self.fields.is_empty() {
            return Err(Error::invalid_type(Unexpected::Seq, &self));
        }
        self.visitor.visit_seq(Below::<_, MERGES> { access, fields: &[] })
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        if MERGES && !self.fields.is_empty() {
            let entries = MapDeserializer::<_, serde_json::Error>::new(merged(access, self.fields)?.into_iter());
            return self.visitor.visit_map(Below::<_, MERGES> { access: entries, fields: &[] }).map_err(Error::custom);
        }
        self.visitor.visit_map(Below::<_, MERGES> { access, fields: self.fields })
    }
}

struct Below<A, const MERGES: bool> {
    access: A,
    fields: Fields,
}

impl<'de, A: SeqAccess<'de>, const MERGES: bool> SeqAccess<'de> for Below<A, MERGES> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.access.next_element_seed(Value::<_, MERGES>(seed))
    }
}

impl<'de, A: MapAccess<'de>, const MERGES: bool> MapAccess<'de> for Below<A, MERGES> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        match self.fields {
            [] => self.access.next_key_seed(seed),
            fields => self.access.next_key_seed(Key { seed, fields }),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.access.next_value_seed(Value::<_, MERGES>(seed))
    }
}

struct Value<S, const MERGES: bool>(S);

impl<'de, S: DeserializeSeed<'de>, const MERGES: bool> DeserializeSeed<'de> for Value<S, MERGES> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(AnyCase::<_, MERGES>(deserializer))
    }
}

/// The entries of a struct, each key once, in the struct's spelling.
fn merged<'de, A: MapAccess<'de>>(mut access: A, fields: Fields) -> Result<Vec<(String, serde_json::Value)>, A::Error> {
    let mut entries: Vec<(String, serde_json::Value)> = Vec::new();
    while let Some((key, value)) = access.next_entry::<String, serde_json::Value>()? {
        let name = own_name(&key, fields);
        match entries.iter_mut().find(|(other, _)| other == name) {
            None => entries.push((name.to_owned(), value)),
            Some((_, earlier)) => {
                if !lay_over(earlier, &value) {
                    return Err(Error::custom(format!("duplicate field `{name}` with another value")));
                }
            }
        }
    }
    Ok(entries)
}

/// Merges `later` into `earlier`. Whether they agree.
fn lay_over(earlier: &mut serde_json::Value, later: &serde_json::Value) -> bool {
    match (earlier, later) {
        (serde_json::Value::Object(earlier), serde_json::Value::Object(later)) => {
            later.iter().all(|(key, value)| match earlier.get_mut(key) {
                Some(earlier) => lay_over(earlier, value),
                None => earlier.insert(key.clone(), value.clone()).is_none(),
            })
        }
        (earlier, later) => earlier == later,
    }
}

/// The struct's spelling of a key, or the key itself.
fn own_name(key: &str, fields: Fields) -> &str {
    match fields.contains(&key) {
        true => key,
        false => fields.iter().find(|field| is_same(key, field)).copied().unwrap_or(key),
    }
}

/// A key of a struct.
struct Key<S> {
    seed: S,
    fields: Fields,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Key<S> {
    type Value = S::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<S::Value, E> {
        let field: StrDeserializer<'_, E> = own_name(key, self.fields).into_deserializer();
        self.seed.deserialize(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    #[test]
    fn structs_take_their_keys_in_any_case_and_maps_as_they_are() {
        let text = br#"{"OCIVersion":"1.0.2","Process":{"nonewprivileges":true,"USER":{"additionalgid\u017f":[5]},"cwd":"/"},
            "ANNOTATIONS":{"A":"1","a":"2"},"linux":{"maskedpaths":["/x"],"resources":{"HugePageLimits":[{"pagesize":"2MB"}]}}}"#;
        let spec: Spec = from_slice(text).unwrap();
        let (process, linux) = (spec.process.unwrap(), spec.linux.unwrap());
        assert_eq!((spec.oci_version.as_str(), process.no_new_privileges), ("1.0.2", true));
        assert_eq!(process.user.additional_gids, [5]);
        assert_eq!((spec.annotations["A"].as_str(), spec.annotations["a"].as_str()), ("1", "2"));
        assert_eq!(linux.masked_paths, ["/x"]);
        assert_eq!(linux.resources.unwrap().hugepage_limits[0].page_size, "2MB");
    }

    #[test]
    fn a_field_given_twice_counts_where_both_agree() {
        let text =
            br#"{"hostname":"a","HostName":"a","linux":{"resources":{"cpu":{"shares":5,"quota":6},"CPU":{"Cpus":"0"}}},
            "annotations":{"x":"1"},"Annotations":{"y":"2"}}"#;
        let spec: Spec = from_slice(text).unwrap();
        let cpu = spec.linux.unwrap().resources.unwrap().cpu.unwrap();
        assert_eq!((spec.hostname.as_str(), cpu.shares, cpu.cpus.as_str()), ("a", Some(5), "0"));
        assert_eq!((spec.annotations["x"].as_str(), spec.annotations["y"].as_str()), ("1", "2"));
        for (text, field) in [
            (&br#"{"hostname":"a","HostName":"b"}"#[..], "hostname"),
            (br#"{"process":{"noNewPrivileges":true,"nonewprivileges":false}}"#, "noNewPrivileges"),
            (br#"{"linux":{"maskedPaths":["/x"]},"LINUX":{"maskedpaths":[]}}"#, "maskedPaths"),
        ] {
            let error = from_slice::<Spec>(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("duplicate field `{field}`")), "{error}");
        }
    }

    #[test]
    fn an_array_is_no_struct() {
        for text in [&b"[]"[..], b"{\"process\": [true]}", b"{\"process\": {\"user\": [0, 0]}}"] {
            let error = from_slice::<Spec>(text).unwrap_err().to_string();
            assert!(error.starts_with("invalid type: sequence, expected struct"), "{error}");
        }
    }
}
