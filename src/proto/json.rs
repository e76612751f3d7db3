//! One JSON object of a message, decoded in place.
//!
//! simd-json checks all of it, unescapes strings where they lie and leaves a flat tape of nodes:
//! no recursion on our side, and on its side a stack on the heap with a limit on the depth.

use simd_json::Buffers;
use simd_json::Node;
use simd_json::StaticNode;
use simd_json::Tape;

/// Nesting that is accepted, in fields that nobody reads too.
const DEPTH_MAX: usize = 64;

/// A message of more bytes, or of more nodes, does not leave its buffers behind: a node takes 24
/// bytes and may stand for two of the message.
const BYTES_KEPT_MAX: usize = 256 * 1024;
const NODES_KEPT_MAX: usize = 8 * 1024;

/// Decodes one message after the other into the same buffers.
pub(super) struct Reader {
    buffers: Buffers,
    /// Empty between two messages.
    tape: Tape<'static>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { buffers: Buffers::with_max_depth(0, DEPTH_MAX), tape: Tape(Vec::new()) }
    }

    /// Decodes `json` and gives its fields to `take`; `None` when it is no JSON object.
    ///
    /// Strings borrow from `json`, which holds something else than before afterwards.
    pub(super) fn read<'a, T>(
        &mut self,
        json: &'a mut [u8],
        take: impl FnOnce(Fields<'_, 'a>) -> T,
    ) -> Option<T> {
        let bytes = json.len();
        let mut tape: Tape<'a> = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let is_decoded = simd_json::fill_tape(json, &mut self.buffers, &mut tape).is_ok();
        let taken = is_decoded.then(|| Value(&tape.0)).and_then(|root| root.fields()).map(take);
        if bytes <= BYTES_KEPT_MAX && tape.0.capacity() <= NODES_KEPT_MAX {
            self.tape = tape.reset();
        } else {
            *self = Self::new();
        }
        taken
    }
}

/// A value: its own node, and behind it at least those of what it holds.
#[derive(Clone, Copy)]
pub(super) struct Value<'t, 'a>(&'t [Node<'a>]);

impl<'t, 'a> Value<'t, 'a> {
    pub(super) fn is_null(self) -> bool {
        matches!(self.0, [Node::Static(StaticNode::Null), ..])
    }

    pub(super) fn as_str(self) -> Option<&'a str> {
        if let [Node::String(text), ..] = self.0 { Some(text) } else { None }
    }

    /// A whole number from 0 to 2^64 - 1, written without fraction and exponent.
    pub(super) fn as_u64(self) -> Option<u64> {
        match self.0 {
            [Node::Static(StaticNode::U64(number)), ..] => Some(*number),
            [Node::Static(StaticNode::I64(number)), ..] => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The fields of an object.
    pub(super) fn fields(self) -> Option<Fields<'t, 'a>> {
        let (Node::Object { count, .. }, rest) = self.0.split_first()? else { return None };
        Some(Fields { nodes: rest.get(..*count)? })
    }

    /// How many nodes the value takes.
    fn nodes_count(self) -> usize {
        match self.0.first() {
            Some(Node::Object { count, .. } | Node::Array { count, .. }) => count + 1,
            Some(Node::String(_) | Node::Static(_)) | None => 1,
        }
    }
}

/// The fields of an object in their order, repeated names included.
#[derive(Clone)]
pub(super) struct Fields<'t, 'a> {
    nodes: &'t [Node<'a>],
}

impl<'t, 'a> Iterator for Fields<'t, 'a> {
    type Item = (&'a str, Value<'t, 'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (Node::String(name), rest) = self.nodes.split_first()? else { return None };
        let value = Value(rest);
        self.nodes = rest.get(value.nodes_count()..).unwrap_or_default();
        Some((name, value))
    }
}

/// Appends `text` as a JSON string (RFC 8259 §7), with no more escapes than are needed.
pub(super) fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec cannot fail, nor can a string.
    serde_json::to_writer(out, text).unwrap_or_default();
}

/// Appends `text` as a JSON string, or null.
pub(super) fn push_nullable(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => push_string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends `number` in decimal.
pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    serde_json::to_writer(out, &number).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::DEPTH_MAX;
    use super::NODES_KEPT_MAX;
    use super::Reader;

    #[track_caller]
    fn check(json: &str, expected: Option<&[(&str, Option<&str>)]>) {
        let mut json = json.as_bytes().to_vec();
        let found = Reader::new().read(&mut json, |fields| {
            fields.map(|(name, value)| (name, value.as_str())).collect::<Vec<_>>()
        });
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn fields_come_in_order_whatever_stands_between_them() {
        check("{}", Some(&[]));
        let json = r#" {"a":{"x":[{},[1,{"y":null}]],"z":"no"},"b":"é\u00e9\ud834\udd1e\n","b":[[]]
            ,"c":-1.5e3,"d":"last"} "#;
        let expected: &[_] = &[
            ("a", None),
            ("b", Some("éé\u{1D11E}\n")),
            ("b", None),
            ("c", None),
            ("d", Some("last")),
        ];
        check(json, Some(expected));
    }

    #[test]
    fn what_is_no_object_of_json_is_none() {
        #[rustfmt::skip]
        let broken = [
            "", " ", "null", "1", "\"a\"", "[]", "[{}]", "{", "}", "{}{}", "{} x", "{\"a\"}",
            "{\"a\":}", "{\"a\":1,}", "{a:1}", "{'a':1}", "{\"a\":\"\n\"}", "{\"a\":\"\\x\"}",
            "{\"a\":\"\\ud800\"}", "{\"a\":\"\\udc00\"}", "{\"a\":\"\\ud800\\u0041\"}",
            "{\"a\":\"\\u12\"}", "{\"a\":01}", "{\"a\":nul}", "{\"a\":1e}", "{\"a\":NaN}",
            "{\"a\":\"b}", "{1:2}", "\u{FEFF}{}",
        ];
        for json in broken {
            check(json, None);
        }
        assert!(Reader::new().read(&mut b"{\"a\":\"\xFF\"}".to_vec(), |_| ()).is_none());
        assert!(Reader::new().read(&mut b"{\"a\":\"\xED\xA0\x80\"}".to_vec(), |_| ()).is_none());
    }

    #[test]
    fn depth_is_bounded_and_deep_input_costs_no_stack() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        check(&nested(DEPTH_MAX - 1), Some(&[("a", None)]));
        check(&nested(DEPTH_MAX + 1), None);
        check(&nested(1_000_000), None);
        check(&"[".repeat(1_000_000), None);
        check(&"{\"a\":".repeat(1_000_000), None);
    }

    #[test]
    fn numbers_beyond_range_are_no_numbers() {
        let read = |number: &str| {
            let mut json = format!("{{\"n\":{number}}}").into_bytes();
            Reader::new().read(&mut json, |mut fields| fields.next().and_then(|it| it.1.as_u64()))
        };
        assert_eq!(read("18446744073709551615"), Some(Some(u64::MAX)));
        for number in ["18446744073709551616", "-1", "1.0", "1e3", "1e999", "\"1\"", "true"] {
            assert_eq!(read(number).flatten(), None, "{number}");
        }
        assert_eq!(read(&"9".repeat(5000)).flatten(), None);
    }

    #[test]
    fn a_huge_message_leaves_no_huge_buffers_behind() {
        let mut reader = Reader::new();
        let mut json = format!("{{\"a\":[{}0]}}", "0,".repeat(1_000_000)).into_bytes();
        assert_eq!(reader.read(&mut json, |fields| fields.count()), Some(1));
        assert!(reader.tape.0.capacity() <= NODES_KEPT_MAX);
        assert_eq!(
            reader.read(&mut b"{\"a\":1,\"b\":2}".to_vec(), |fields| fields.count()),
            Some(2)
        );
        assert!(0 < reader.tape.0.capacity());
    }
}
