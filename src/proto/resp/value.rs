//! A reply, borrowed from the receive buffer.

/// One reply; RESP2 uses `Simple`, `Error`, `Integer`, `Bulk`, `Null` and `Array` only.
///
/// Strings are bytes: nothing in RESP promises that they are UTF-8. Attributes are left out.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `+`, without CR or LF.
    Simple(&'a [u8]),
    /// `-` or `!`: the whole text, its first word being the kind of error.
    Error(&'a [u8]),
    /// `:`.
    Integer(i64),
    /// `$`.
    Bulk(&'a [u8]),
    /// `_`, and the `$-1` and `*-1` of RESP2.
    Null,
    /// `#`.
    Boolean(bool),
    /// `,`.
    Double(f64),
    /// `(`: an optional sign and digits.
    BigNumber(&'a [u8]),
    /// `=`.
    Verbatim {
        /// Three letters, `txt` or `mkd`.
        format: &'a [u8],
        /// What follows the colon.
        text: &'a [u8],
    },
    /// `*`.
    Array(Vec<Self>),
    /// `~`.
    Set(Vec<Self>),
    /// `>`: said by the server unasked.
    Push(Vec<Self>),
    /// `%`, in the server's order; a key may come twice.
    Map(Vec<(Self, Self)>),
}

impl<'a> Value<'a> {
    /// The bytes of a string of any kind, errors not included.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Simple(bytes) | Self::Bulk(bytes) | Self::Verbatim { text: bytes, .. } => {
                Some(bytes)
            }
            Self::Error(_)
            | Self::Integer(_)
            | Self::Null
            | Self::Boolean(_)
            | Self::Double(_)
            | Self::BigNumber(_)
            | Self::Array(_)
            | Self::Set(_)
            | Self::Push(_)
            | Self::Map(_) => None,
        }
    }

    /// The same as [`as_bytes`](Self::as_bytes) where it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        str::from_utf8(self.as_bytes()?).ok()
    }

    /// The number of an integer, or of a string that is one in decimal.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { self.as_str()?.parse().ok() }
    }

    /// The elements of an array, set or push.
    #[must_use]
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => Some(items),
            Self::Simple(_)
            | Self::Error(_)
            | Self::Integer(_)
            | Self::Bulk(_)
            | Self::Null
            | Self::Boolean(_)
            | Self::Double(_)
            | Self::BigNumber(_)
            | Self::Verbatim { .. }
            | Self::Map(_) => None,
        }
    }

    /// The value of `key` in a map, or in the flat array of keys and values that RESP2 has in its
    /// place.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let is_key = |value: &Self| value.as_bytes() == Some(key.as_bytes());
        if let Self::Map(entries) = self {
            return entries.iter().find(|(name, _)| is_key(name)).map(|(_, value)| value);
        }
        let pairs = self.items()?.as_chunks::<2>().0;
        pairs.iter().find(|[name, _]| is_key(name)).map(|[_, value]| value)
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn a_key_is_found_in_a_map_and_in_the_flat_form() {
        let entries = [("role", "master"), ("id", "7")];
        let bulk = |text: &'static str| Value::Bulk(text.as_bytes());
        let map = Value::Map(entries.map(|(key, value)| (bulk(key), bulk(value))).to_vec());
        let flat = Value::Array(entries.iter().flat_map(|it| [bulk(it.0), bulk(it.1)]).collect());
        for value in [map, flat] {
            assert_eq!(value.get("role").and_then(Value::as_str), Some("master"));
            assert_eq!(value.get("id").and_then(Value::as_integer), Some(7));
            assert_eq!(value.get("master"), None);
        }
        assert_eq!(Value::Null.get("role"), None);
    }
}
