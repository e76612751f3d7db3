//! Ant patterns of destinations: parsed once, matched in bounded time, and compared by what they
//! cover.

use std::fmt;

use crate::policy::pattern::segment::glob;

pub use crate::policy::pattern::segment::Segment;
pub use crate::policy::pattern::segment::Wild;

mod segment;

/// The longest pattern, in bytes; this bounds the text of every regex in it too.
pub const PATTERN_BYTES_MAX: usize = 512;
/// The most segments of a pattern.
pub const SEGMENTS_COUNT_MAX: usize = 32;
/// The most `**` segments of a pattern.
pub const DEEP_COUNT_MAX: usize = 8;
/// The most segments of a pattern that hold a regex.
pub const REGEXES_COUNT_MAX: usize = 2;

/// Why a text is not a pattern; its `Display` says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// Nothing is there.
    Empty,
    /// More than [`PATTERN_BYTES_MAX`].
    TooLong,
    /// More than [`SEGMENTS_COUNT_MAX`] segments.
    TooManySegments,
    /// More than [`DEEP_COUNT_MAX`] segments are `**`.
    TooManyDeep,
    /// More than [`REGEXES_COUNT_MAX`] segments hold a regex.
    TooManyRegexes,
    /// A control character.
    ControlCharacter,
    /// A `{` without its `}` in the same segment.
    UnclosedBrace,
    /// A `}` without its `{` in the same segment.
    UnopenedBrace,
    /// The name of a `{name}` is empty or holds other characters than letters, digits, `_`, `-`,
    /// `.`.
    Name,
    /// The regex of a `{name:regex}` is not one.
    Regex,
    /// The regex of a `{name:regex}` is too large once compiled.
    RegexTooBig,
}

impl fmt::Display for PatternError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => out.write_str("the pattern is empty: name a destination"),
            Self::TooLong => {
                write!(out, "the pattern is too long: use at most {PATTERN_BYTES_MAX} bytes")
            }
            Self::TooManySegments => {
                write!(out, "too many segments: use at most {SEGMENTS_COUNT_MAX}, or `**`")
            }
            Self::TooManyDeep => write!(out, "too many `**`: use at most {DEEP_COUNT_MAX}"),
            Self::TooManyRegexes => {
                write!(out, "too many regexes: use them in at most {REGEXES_COUNT_MAX} segments")
            }
            Self::ControlCharacter => {
                out.write_str("a control character in the pattern: percent-encode it")
            }
            Self::UnclosedBrace => {
                out.write_str("`{` is not closed: end it with `}` before the next `/`")
            }
            Self::UnopenedBrace => {
                out.write_str("`}` without `{`: remove it, or write `\\}` inside a regex")
            }
            Self::Name => out.write_str(
                "bad name in `{name}`: use letters, digits, `_`, `-`, `.`; \
                 for the rest of a path use `**`",
            ),
            Self::Regex => {
                out.write_str("bad regex in `{name:regex}`: check its brackets and escapes")
            }
            Self::RegexTooBig => {
                out.write_str("the regex in `{name:regex}` is too big: repeat less, or use `*`")
            }
        }
    }
}

impl std::error::Error for PatternError {}

/// A destination pattern with the rules of Ant as Spring's brokers apply them.
///
/// `?` is one character, `*` any run within a segment, `{name}` a run that is not empty,
/// `{name:regex}` a run that the regex matches from end to end, and a segment `**` any number of
/// segments, also none, so `/topic/**` matches `/topic`. Segments are what stands between slashes;
/// empty ones do not count. A leading slash must be on both sides or on none; so must a trailing
/// one, except that a last `**` does not care and a last `*` stands for what is missing in
/// `/topic/`.
///
/// Matching takes at most (bytes of the pattern) x (bytes of the destination) steps.
/// Two patterns are equal when their texts are.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    segments: Box<[Segment]>,
}

impl Pattern {
    /// Whether `text` holds `*`, `?` or `{`, and so means a pattern rather than one destination.
    #[must_use]
    pub fn is_pattern(text: &str) -> bool {
        memchr::memchr3(b'*', b'?', b'{', text.as_bytes()).is_some()
    }

    /// Parses `text`, which may also be a plain destination (a pattern that matches only that).
    ///
    /// # Errors
    ///
    /// What is wrong with the text, or which bound it breaks.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if PATTERN_BYTES_MAX < text.len() {
            return Err(PatternError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(PatternError::ControlCharacter);
        }
        if SEGMENTS_COUNT_MAX < parts(text).count() {
            return Err(PatternError::TooManySegments);
        }
        if DEEP_COUNT_MAX < parts(text).filter(|&part| part == "**").count() {
            return Err(PatternError::TooManyDeep);
        }
        let segments = parts(text).map(Segment::parse).collect::<Result<Box<[_]>, _>>()?;
        if REGEXES_COUNT_MAX < segments.iter().filter(|it| it.has_regex()).count() {
            return Err(PatternError::TooManyRegexes);
        }
        Ok(Self { text: text.into(), segments })
    }

    /// The text that was parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The segments, first to last; empty ones between slashes are left out.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether this pattern matches the whole of `destination`.
    #[must_use]
    pub fn matches(&self, destination: &str) -> bool {
        if destination.starts_with('/') != self.text.starts_with('/') {
            return false;
        }
        let parts = parts(destination);
        let ends_alike = destination.ends_with('/') == self.text.ends_with('/');
        ((ends_alike || self.ends_deep())
            && glob(&self.segments, parts.clone(), Segment::is_deep, Segment::matches))
            || (self.may_lack_last() && destination.ends_with('/') && self.lacks_last(parts))
    }

    /// Whether every destination that `other` matches is surely matched by this pattern.
    ///
    /// Errs on the side of `false`: a regex is covered by itself and by wildcards only.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if self.text == other.text {
            return true;
        }
        if self.text.starts_with('/') != other.text.starts_with('/')
            || !self.covers_segments(&other.segments)
        {
            return false;
        }
        if self.ends_deep() {
            let [before @ .., _] = &*other.segments else { return true };
            return !other.may_lack_last() || self.covers_segments(before);
        }
        self.text.ends_with('/') == other.text.ends_with('/')
            && (!other.may_lack_last() || self.may_lack_last())
    }

    fn covers_segments(&self, others: &[Segment]) -> bool {
        glob(&self.segments, others.iter(), Segment::is_deep, Segment::covers)
    }

    fn ends_deep(&self) -> bool {
        self.segments.last().is_some_and(Segment::is_deep)
    }

    /// Whether the last segment is a bare `*` that may also stand for nothing after a slash.
    fn may_lack_last(&self) -> bool {
        self.segments.last().is_some_and(Segment::is_star)
            && !self.segments.iter().any(Segment::is_deep)
    }

    fn lacks_last<'d>(&self, parts: impl Iterator<Item = &'d str> + Clone) -> bool {
        let before = self.segments.len().saturating_sub(1);
        glob(&self.segments[..before], parts, Segment::is_deep, Segment::matches)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// The parts of a destination between its slashes, without the empty ones.
pub fn parts(destination: &str) -> impl Iterator<Item = &str> + Clone {
    destination.split('/').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let pattern = Pattern::parse(pattern).expect("the test's pattern is good");
        for destination in matching {
            assert!(pattern.matches(destination), "{pattern} must match {destination}");
        }
        for destination in others {
            assert!(!pattern.matches(destination), "{pattern} must not match {destination}");
        }
    }

    #[track_caller]
    fn check_error(pattern: &str, expected: PatternError) {
        assert_eq!(Pattern::parse(pattern), Err(expected), "{pattern}");
    }

    #[track_caller]
    fn check_covers(pattern: &str, covered: &[&str], others: &[&str]) {
        let parse = |text: &str| Pattern::parse(text).expect("the test's pattern is good");
        let pattern = parse(pattern);
        for other in covered {
            assert!(pattern.covers(&parse(other)), "{pattern} covers {other}");
        }
        for other in others {
            assert!(!pattern.covers(&parse(other)), "{pattern} does not cover {other}");
        }
    }

    #[test]
    fn a_star_stays_in_its_segment_and_dots_do_not_end_it() {
        check(
            "/topic/PRICE.STOCK.*.IBM",
            &[
                "/topic/PRICE.STOCK.NASDAQ.IBM",
                "/topic/PRICE.STOCK..IBM",
                "/topic/PRICE.STOCK.a.b.IBM",
            ],
            &[
                "/topic/PRICE.STOCK.NASDAQ.VMW",
                "/topic/PRICE.STOCK.a/b.IBM",
                "/topic/PRICE.STOCK.IBM",
            ],
        );
        check("/topic/*", &["/topic/p.1.x", "/topic/"], &["/topic/a/b", "/topic", "/topic/a/"]);
        check("/topic/a*b*c", &["/topic/abc", "/topic/aXbXc", "/topic/abbcc"], &["/topic/acb"]);
    }

    #[test]
    fn two_stars_take_any_number_of_segments() {
        check(
            "/topic/**",
            &["/topic", "/topic/", "/topic/a", "/topic/a/b", "/topic/a/b/", "/topic//a"],
            &["/topics", "topic/a", "/", "/queue/topic"],
        );
        check("/**", &["/", "//", "/a", "/a/b"], &["", "a"]);
        check("**", &["", "a", "a/b/"], &["/a"]);
        check(
            "/a/**/b",
            &["/a/b", "/a/x/b", "/a/b/b", "/a/b/x/b"],
            &["/a/b/", "/a", "/a/b/x", "/b"],
        );
        check("/a/**/", &["/a", "/a/", "/a/b"], &["/b"]);
        check("/**/a/**/a/b", &["/a/a/b", "/x/a/a/a/b"], &["/a/b", "/a/a/a", "/a/a/b/a"]);
        check("/a**b", &["/ab", "/aXb"], &["/a/b"]);
    }

    #[test]
    fn a_question_mark_is_one_character_however_long_its_bytes() {
        check("/t/?", &["/t/a", "/t/é", "/t/😀"], &["/t/", "/t/ab", "/t//"]);
        check("/t/a?*", &["/t/ab", "/t/abc"], &["/t/a"]);
        check("/t/*?", &["/t/a", "/t/ab"], &["/t/"]);
    }

    #[test]
    fn variables_are_not_empty_and_may_have_a_regex() {
        check(
            "/app/room.{room}",
            &["/app/room.1", "/app/room.a.b"],
            &["/app/room.", "/app/room.1/2"],
        );
        check(
            "/topic/PRICE.STOCK.*.{ticker:(IBM|MSFT)}",
            &["/topic/PRICE.STOCK.NASDAQ.IBM", "/topic/PRICE.STOCK.NASDAQ.MSFT"],
            &["/topic/PRICE.STOCK.NASDAQ.VMW", "/topic/PRICE.STOCK.NASDAQ.IBM2"],
        );
        check("/t/{a:[0-9]{2}}x", &["/t/12x"], &["/t/1x", "/t/123x", "/t/12xx"]);
        check(
            r"/t/{a:\{\d+\}}.{b:x|y}",
            &["/t/{7}.x", "/t/{7}.y"],
            &["/t/7.x", "/t/y", "/t/{7}xx"],
        );
        check("/t/(.<->&{a:x}", &["/t/(.<->&x"], &["/t/(a<->&x"]);
        check(
            r"/t/{a:\w+}",
            &["/t/a1", "/t/é"],
            &["/t/a-b", "/t/", &format!("/t/{}", "a".repeat(513))],
        );
    }

    #[test]
    fn slashes_at_the_ends_count_and_double_ones_do_not() {
        check("/a/b", &["/a/b", "/a//b", "//a/b"], &["/a/b/", "a/b", "/a/bb"]);
        check("/a/b/", &["/a/b/", "/a/b//"], &["/a/b"]);
        check("a/*", &["a/b", "a/"], &["/a/b", "a"]);
        check("/a/*/", &["/a/b/", "/a/"], &["/a/b", "/a"]);
        check("/*", &["/", "/a"], &["", "/a/"]);
        check("/", &["/", "//"], &["", "/a"]);
        check("/a/{x}", &["/a/b"], &["/a/", "/a/b/"]);
    }

    #[test]
    fn only_wildcards_make_a_pattern() {
        assert!(["/a/*", "/?", "/{a}"].into_iter().all(Pattern::is_pattern));
        assert!(!["", "/topic/a.b", "/a}", "/[a]", "/a+"].into_iter().any(Pattern::is_pattern));
    }

    #[test]
    fn a_bad_pattern_says_why() {
        check_error("", PatternError::Empty);
        check_error("/a/\n*", PatternError::ControlCharacter);
        check_error("/a/{b", PatternError::UnclosedBrace);
        check_error("/a/{b/c}", PatternError::UnclosedBrace);
        check_error("/a/{b:[a/b]}", PatternError::UnclosedBrace);
        check_error(r"/a/{b:\}", PatternError::UnclosedBrace);
        check_error("/a/b}", PatternError::UnopenedBrace);
        check_error("/a/{b}}", PatternError::UnopenedBrace);
        check_error("/a/{}", PatternError::Name);
        check_error("/a/{*rest}", PatternError::Name);
        check_error("/a/{:a}", PatternError::Name);
        check_error("/a/{b:(}", PatternError::Regex);
        check_error("/a/{b:a)|(?:b}", PatternError::Regex);
        check_error("/a/{b:(?x)a#}", PatternError::Regex);
        check_error("/a/{b:[a-z]{1000}}", PatternError::RegexTooBig);
        check_error(r"/a/{b:\w{100}}", PatternError::RegexTooBig);
        check_error(r"/a/{b:(((a{99}){99}){99}){99}}", PatternError::RegexTooBig);
        assert!(PatternError::TooLong.to_string().contains("512"));
    }

    #[test]
    fn every_bound_holds_on_both_sides() {
        let most = |count: usize, part: &str| part.repeat(count);
        check(&most(PATTERN_BYTES_MAX, "*"), &["a"], &["/a"]);
        check_error(&most(PATTERN_BYTES_MAX + 1, "*"), PatternError::TooLong);
        check(&most(SEGMENTS_COUNT_MAX, "/*"), &[&most(SEGMENTS_COUNT_MAX, "/a")], &["/a"]);
        check_error(&most(SEGMENTS_COUNT_MAX + 1, "/*"), PatternError::TooManySegments);
        check(&most(DEEP_COUNT_MAX, "/**"), &["/", "/a"], &["a"]);
        check_error(&most(DEEP_COUNT_MAX + 1, "/**"), PatternError::TooManyDeep);
        check(&most(REGEXES_COUNT_MAX, "/{a:b}"), &[&most(REGEXES_COUNT_MAX, "/b")], &["/"]);
        check_error(&most(REGEXES_COUNT_MAX + 1, "/{a:b}"), PatternError::TooManyRegexes);
    }

    #[test]
    fn hostile_patterns_end_soon() {
        let many = "a".repeat(8000);
        check(&format!("/{}b", "a*".repeat(250)), &[], &[&format!("/{many}")]);
        let deep = format!("/{}b", "**/a/*/".repeat(DEEP_COUNT_MAX));
        check(&deep, &[], &[&"/a".repeat(4000)]);
        check("/{x:(a|a|a*)*}b", &[], &[&format!("/{many}")]);
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one() {
        check_covers(
            "/topic/**",
            &["/topic/**", "/topic", "/topic/a", "/topic/*", "/topic/*/b/**", "/topic/{x:a|b}.c/"],
            &["/**", "/*/a", "/topic*", "/topi?/a", "topic/a"],
        );
        check_covers(
            "/topic/*",
            &["/topic/a", "/topic/?", "/topic/{x}", "/topic/{x:a+}"],
            &["/topic/**"],
        );
        check_covers(
            "/topic/{x}",
            &["/topic/a*", "/topic/{y}", "/topic/?*"],
            &["/topic/*", "/topic"],
        );
        check_covers(
            "/t/a.*.c",
            &["/t/a.b.c", "/t/a.?.*.c", "/t/a.{x:b|c}.c"],
            &["/t/a.*", "/t/*.c"],
        );
        check_covers("/t/?b", &["/t/ab", "/t/?b"], &["/t/*b", "/t/?", "/t/b"]);
        check_covers("/t/{x:a|b}", &["/t/a", "/t/{x:a|b}"], &["/t/c", "/t/{x:a}", "/t/*"]);
        check_covers("/**/a", &["/a", "/b/a", "/**/b/a"], &["/a/**", "/**", "/a/"]);
        check_covers("/a/**/**", &["/a/**", "/a/*", "/a"], &["/**"]);
        check_covers("/a/**/*", &["/a/b"], &["/a/*", "/a"]);
        check_covers("/user/*/queue", &["/user/a/queue"], &["/user/**", "/user/*/queue/"]);
    }

    /// Every path of one or two of `parts`, with and without a slash at its end.
    fn paths(parts: &[&str]) -> Vec<String> {
        let one = parts.iter().map(|it| format!("/{it}"));
        let two = parts.iter().flat_map(|it| parts.iter().map(move |or| format!("/{it}/{or}")));
        one.chain(two).flat_map(|it| [it.clone() + "/", it]).collect()
    }

    #[test]
    fn what_is_covered_is_matched() {
        let segments = "a b ab * ** ? a* *a ?b a? *a* {x} {x:a|b} {x:(b+)}";
        let patterns = paths(&segments.split(' ').collect::<Vec<_>>());
        let mut destinations = paths(&["a", "b", "ab", "ba", "bb", "aa", "aba", "bab"]);
        destinations.extend(["/", "/a/b/a", "/a/a/b/", "/b/ab/a"].map(String::from));
        let patterns: Vec<(Pattern, Vec<bool>)> = (patterns.iter())
            .map(|it| Pattern::parse(it).expect("the test's pattern is good"))
            .map(|it| (it.clone(), destinations.iter().map(|to| it.matches(to)).collect()))
            .collect();
        let mut covered_count = 0;
        for (one, matched_by_one) in &patterns {
            for (other, matched_by_other) in patterns.iter().filter(|it| one.covers(&it.0)) {
                covered_count += 1;
                for (at, to) in destinations.iter().enumerate() {
                    let is_sound = matched_by_one[at] || !matched_by_other[at];
                    assert!(is_sound, "{one} covers {other}, but does not match {to}");
                }
            }
        }
        assert!(10 * patterns.len() < covered_count);
    }

    /// The rules said again without regard to time.
    fn naive(pattern: &str, destination: &str) -> bool {
        let steps: Vec<_> = parts(pattern).collect();
        let items: Vec<_> = parts(destination).collect();
        let ends_alike = pattern.ends_with('/') == destination.ends_with('/');
        let is_shallow = !steps.contains(&"**");
        let last = steps.last().copied();
        pattern.starts_with('/') == destination.starts_with('/')
            && ((naive_parts(&steps, &items) && (last == Some("**") || ends_alike))
                || (is_shallow
                    && last == Some("*")
                    && destination.ends_with('/')
                    && naive_parts(&steps[..steps.len() - 1], &items)))
    }

    fn naive_parts(steps: &[&str], items: &[&str]) -> bool {
        match (steps, items) {
            ([], _) => items.is_empty(),
            (["**", after @ ..], _) => (0..=items.len()).any(|it| naive_parts(after, &items[it..])),
            ([step, after @ ..], [item, rest @ ..]) => {
                naive_chars(step, item) && naive_parts(after, rest)
            }
            ([_, ..], []) => false,
        }
    }

    fn naive_chars(step: &str, text: &str) -> bool {
        let run = |after: &str, least: usize, fits: fn(u8) -> bool| {
            let most = text.bytes().take_while(|&it| fits(it)).count();
            (least..=most).any(|it| naive_chars(after, &text[it..]))
        };
        if let Some(after) = step.strip_prefix("{x:a|b}") {
            return text.starts_with(['a', 'b']) && naive_chars(after, &text[1..]);
        }
        if let Some(after) = step.strip_prefix("{x:(b+)}") {
            return run(after, 1, |it| it == b'b');
        }
        if let Some(after) = step.strip_prefix("{x}") {
            return run(after, 1, |_| true);
        }
        if let Some(after) = step.strip_prefix('*') {
            return run(after, 0, |_| true);
        }
        match (step.chars().next(), text.chars().next()) {
            (None, _) => text.is_empty(),
            (Some(wanted), Some(it)) if wanted == '?' || wanted == it => {
                naive_chars(&step[1..], &text[1..])
            }
            (Some(_), _) => false,
        }
    }

    const PIECES: &[&str] = &["a", "b", "a", "b", "*", "?", "{x}", "{x:a|b}", "{x:(b+)}", "**"];

    fn some_pattern() -> impl Strategy<Value = String> {
        let piece = || select(PIECES);
        let part = prop_oneof![
            Just(String::from("**")),
            select(vec!["a", "b", "*", "?"]).prop_map(String::from),
            prop::collection::vec(piece(), 1..4).prop_map(|it| it.concat()),
        ];
        path(part, 1)
    }

    fn some_destination() -> impl Strategy<Value = String> {
        path("[ab]{1,4}".prop_map(|it| it), 0)
    }

    fn path(part: impl Strategy<Value = String>, least: usize) -> impl Strategy<Value = String> {
        let ends = (select(vec!["/", "/", "/", "//", ""]), select(vec!["", "", "", "/"]));
        (ends, prop::collection::vec(part, least..5))
            .prop_map(|((first, last), parts)| format!("{first}{}{last}", parts.join("/")))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn matching_equals_the_naive_rules(text in some_pattern(), to in some_destination()) {
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert_eq!(pattern.matches(&to), naive(&text, &to));
            }
        }

        #[test]
        fn no_text_makes_parsing_or_matching_fail(text in "\\PC{0,40}", to in "\\PC{0,40}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert!(!pattern.matches(&to) || to.starts_with('/') == text.starts_with('/'));
                prop_assert!(Pattern::is_pattern(&text) || pattern.matches(&text));
            }
        }
    }
}
