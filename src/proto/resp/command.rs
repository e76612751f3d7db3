//! Commands to send.

use redis::Cmd;
use redis::RedisWrite;

/// Appends one command: an array of bulk strings ("Sending commands to a Redis server").
///
/// The parts are bytes and stay what they are: nothing in them can end a part.
pub fn push_command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let bytes = parts.iter().map(|part| part.len()).sum();
    let mut command = Cmd::with_capacity(parts.len(), bytes);
    for part in parts {
        command.write_arg(part);
    }
    command.write_packed_command(out);
}

#[cfg(test)]
mod tests {
    use super::push_command;

    #[test]
    fn a_command_is_appended_as_an_array_of_bulk_strings() {
        let mut out = b"before".to_vec();
        push_command(&mut out, &[b"PUBLISH", b"ws:/topic/\r\n", b"", b"\xFF\0"]);
        assert_eq!(
            out,
            b"before*4\r\n$7\r\nPUBLISH\r\n$12\r\nws:/topic/\r\n\r\n$0\r\n\r\n$2\r\n\xFF\0\r\n"
        );
    }
}
