//! JSON of strangers, read strictly: bounded in depth and count, and no name twice in one object.
//!
//! Two programs that read the same token differently are a hole: with a name given twice one takes
//! the first value, the other the last.

use std::cell::Cell;
use std::fmt;

use serde::de;
use serde::de::DeserializeSeed;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;

/// How deep objects and arrays may nest, the outermost included.
pub(super) const DEPTH_MAX: usize = 8;
/// How many values a document may hold.
pub(super) const VALUES_COUNT_MAX: usize = 1024;

/// Reads a document whose outermost value is an object; `None` when it is none or breaks a bound.
pub(super) fn parse_object(bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let left = Cell::new(VALUES_COUNT_MAX);
    let value = Strict { depth: DEPTH_MAX, left: &left }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    match value {
        Value::Object(object) => Some(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    }
}

/// One value that may nest `depth` deep, of a document that may hold `left` more.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    left: &'a Cell<usize>,
}

impl Strict<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Self { depth, left: self.left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| de::Error::custom("too many values"))?);
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value within bounds")
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value, E> {
        Ok(Value::Bool(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Value, E> {
        Ok(Value::from(it))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Value, E> {
        Ok(Value::from(it))
    }

    fn visit_f64<E: de::Error>(self, it: f64) -> Result<Value, E> {
        Number::from_f64(it).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, it: &str) -> Result<Value, E> {
        Ok(Value::String(it.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if all.insert(name, value).is_some() {
                return Err(de::Error::custom("a name stands twice"));
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, is_good: bool) {
        assert_eq!(parse_object(text.as_bytes()).is_some(), is_good, "{text}");
    }

    #[test]
    fn an_object_is_read_as_serde_json_reads_it() {
        let text = r#"{"a":[1,-2,3.5,"x\n",null,true],"b":{"c":{}},"":18446744073709551615}"#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse_object(text.as_bytes()).map(Value::Object), Some(expected));
    }

    #[test]
    fn what_is_no_object_or_not_whole_is_refused() {
        for text in ["", "1", "[]", "null", "\"a\"", "{", "{}}", "{} {}", "{\"a\":1,}", "{\"a\"}"] {
            check(text, false);
        }
        assert!(parse_object(b"{\"a\":\"\xff\"}").is_none());
        check(" {} ", true);
    }

    #[test]
    fn no_name_stands_twice_however_it_is_written() {
        check(r#"{"a":1,"a":1}"#, false);
        check(r#"{"a":1,"\u0061":1}"#, false);
        check(r#"{"x":{"a":1,"b":2,"a":3}}"#, false);
        check(r#"{"x":{"a":1},"y":{"a":1}}"#, true);
    }

    #[test]
    fn depth_and_count_hold_on_both_sides() {
        let nested =
            |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        check(&nested(DEPTH_MAX - 1), true);
        check(&nested(DEPTH_MAX), false);
        check(&nested(100_000), false);
        // The object and the array are values too.
        let many = |count: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(count - 3));
        check(&many(VALUES_COUNT_MAX), true);
        check(&many(VALUES_COUNT_MAX + 1), false);
    }
}
