//! The Lua scripts: each is asked for by its hash, and given whole to a server that does not know
//! it. A script is done at once and as a whole, or not at all.

use std::fmt;

use crate::proto::resp;

/// One script.
#[derive(Clone)]
pub(super) struct Script {
    source: &'static str,
    /// In 40 hex digits.
    hash: String,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hash)
    }
}

/// Gives a place; this is the one that back ends may run, too.
pub const PLACE: &str = include_str!("place.lua");

/// All that are used.
#[derive(Clone, Debug)]
pub(super) struct Scripts {
    pub(super) place: Script,
    pub(super) mark: Script,
    pub(super) read: Script,
    pub(super) due: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        let script = |source| Script { source, hash: resp::script_hash(source) };
        Self {
            place: script(PLACE),
            mark: script(include_str!("mark.lua")),
            read: script(include_str!("read.lua")),
            due: script(include_str!("due.lua")),
        }
    }
}

/// Bytes of `$7`, `EVALSHA`, `$40`, the hash, and the ends of their lines.
const NAMED_BYTES: usize = 4 + 9 + 5 + 42;

impl Script {
    /// The command that runs it.
    pub(super) fn command(&self, keys: &[&str], arguments: &[&[u8]]) -> Vec<u8> {
        let count = keys.len().to_string();
        let mut parts: Vec<&[u8]> = vec![b"EVALSHA", self.hash.as_bytes(), count.as_bytes()];
        parts.extend(keys.iter().map(|it| it.as_bytes()));
        parts.extend_from_slice(arguments);
        let mut command = Vec::new();
        resp::push_command(&mut command, &parts);
        command
    }
}

impl Scripts {
    /// The same command with the script itself in place of its hash.
    pub(super) fn whole(&self, command: &[u8]) -> Option<Vec<u8>> {
        let count_bytes = command.iter().position(|byte| *byte == b'\n')? + 1;
        let (count, rest) = command.split_at_checked(count_bytes)?;
        let (named, arguments) = rest.split_at_checked(NAMED_BYTES)?;
        let all = [&self.place, &self.mark, &self.read, &self.due];
        let has = |it: &Script| named.windows(40).any(|part| part == it.hash.as_bytes());
        let script = all.into_iter().find(|it| has(it))?;
        let mut whole = count.to_vec();
        let source = script.source;
        whole.extend_from_slice(
            format!("$4\r\nEVAL\r\n${}\r\n{source}\r\n", source.len()).as_bytes(),
        );
        whole.extend_from_slice(arguments);
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_made_whole() {
        let scripts = Scripts::default();
        let command = scripts.mark.command(&["a", "b"], &[b"EVALSHA", b"\r\n"]);
        let whole = scripts.whole(&command).unwrap();
        let mut expected = Vec::new();
        let source = scripts.mark.source.as_bytes();
        resp::push_command(
            &mut expected,
            &[b"EVAL", source, b"2", b"a", b"b", b"EVALSHA", b"\r\n"],
        );
        assert_eq!(whole, expected);
        assert_eq!(scripts.whole(&whole), None);
        assert_eq!(scripts.whole(b"*1\r\n$4\r\nPING\r\n"), None);
    }
}
