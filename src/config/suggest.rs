//! "Did you mean": the known name nearest to a mistyped one.

/// The name of `known` that `typed` most likely stands for, if one is near enough.
pub(super) fn nearest<'a>(
    typed: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    // The last part alone is a name whose section was forgotten.
    let mut whole = known.clone().filter(|it| it.rsplit('.').next() == Some(typed));
    if let (Some(only), None) = (whole.next(), whole.next()) {
        return Some(only);
    }
    let distance_max = (typed.len() / 4).clamp(1, 4);
    known
        .map(|it| (distance(typed, it), it))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, it)| it)
}

/// Edits of one byte (put in, left out, replaced) that turn `left` into `right`.
fn distance(left: &str, right: &str) -> usize {
    // One row of the matrix at a time: row[i] is the distance from what was read to right[..i].
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.bytes().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(right.bytes()) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            before = replaced.min(before + 1).min(*cell + 1);
            *cell = before;
        }
        row[0] = line + 1;
    }
    row.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_single_edits() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("coers", "cores", 2),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn near_names_and_forgotten_sections_are_found_and_far_ones_are_not() {
        let known = ["server.cores", "server.listen", "admin.listen", "log.level"];
        let check = |typed, expected| {
            assert_eq!(nearest(typed, known.into_iter()), expected, "{typed}");
        };
        check("server.coers", Some("server.cores"));
        check("sever.listen", Some("server.listen"));
        check("level", Some("log.level"));
        check("listen", None);
        check("nothing.alike", None);
    }
}
