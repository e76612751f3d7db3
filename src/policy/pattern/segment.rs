//! One segment of a pattern, and the one way of matching that segments and characters share.

use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::nfa::thompson::pikevm::PikeVM;

use crate::policy::pattern::PATTERN_BYTES_MAX;
use crate::policy::pattern::PatternError;

/// The largest compiled regex, in bytes: it belongs to a peer and lives as long as its
/// subscription.
const REGEX_COMPILED_BYTES_MAX: usize = 32 * 1024;
/// The longest segment that a regex looks at; no regex matches a longer one.
const REGEX_PART_BYTES_MAX: usize = 512;

/// What stands between two slashes of a [`Pattern`](crate::policy::pattern::Pattern).
#[derive(Clone, Debug)]
pub enum Segment {
    /// Exactly this text.
    Literal(Box<str>),
    /// One segment that holds wildcards.
    Wild(Wild),
    /// `**`: any number of segments, also none.
    Deep,
}

impl Segment {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        if text == "**" {
            return Ok(Self::Deep);
        }
        if text.contains(['*', '?', '{', '}']) {
            return Wild::parse(text).map(Self::Wild);
        }
        Ok(Self::Literal(text.into()))
    }

    /// Whether this is `**`.
    #[must_use]
    pub fn is_deep(&self) -> bool {
        matches!(self, Self::Deep)
    }

    /// Whether this is a bare `*`.
    pub(super) fn is_star(&self) -> bool {
        matches!(self, Self::Wild(wild) if &*wild.text == "*")
    }

    pub(super) fn has_regex(&self) -> bool {
        matches!(self, Self::Wild(wild) if wild.regex.is_some())
    }

    /// Whether `part`, one segment of a destination, fits; never for `**`, which is no single
    /// segment.
    pub(super) fn matches(&self, part: &str) -> bool {
        match self {
            Self::Literal(text) => **text == *part,
            Self::Wild(wild) => wild.matches(part),
            Self::Deep => false,
        }
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(_) | Self::Wild(_), Self::Literal(text)) => self.matches(text),
            (Self::Wild(wild), Self::Wild(other)) => wild.covers(other),
            (Self::Literal(_), Self::Wild(_)) | (Self::Deep, _) | (_, Self::Deep) => false,
        }
    }
}

/// One segment with wildcards.
///
/// Invariant: where `regex` is set it decides, and `tokens` match at least what it matches.
#[derive(Clone, Debug)]
pub struct Wild {
    text: Box<str>,
    prefix_bytes: u16,
    suffix_bytes: u16,
    tokens: Box<[Token]>,
    regex: Option<PikeVM>,
}

/// A step of a segment without regex. In a run of wildcards the single characters come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    One,
    Run,
}

impl Wild {
    fn parse(text: &str) -> Result<Self, PatternError> {
        let mut tokens = Vec::new();
        let mut regex_text = String::from(r"\A");
        let mut has_regex = false;
        let mut prefix_bytes = None;
        let mut rest = text;
        let mut suffix = text;
        while let Some(first) = rest.chars().next() {
            let at_bytes = text.len() - rest.len();
            rest = &rest[first.len_utf8()..];
            match first {
                '?' => push_wild(&mut tokens, &mut regex_text, &[Token::One], "(?s:.)"),
                '*' => push_wild(&mut tokens, &mut regex_text, &[Token::Run], "(?s:.*)"),
                '{' => {
                    let (name, regex, after) = split_variable(rest)?;
                    check_name(name)?;
                    rest = after;
                    if let Some(regex) = regex {
                        compile(regex)?; // alone, so that a stray `)` cannot leave its group below
                        has_regex = true;
                        let group = format!("(?:{regex})");
                        push_wild(&mut tokens, &mut regex_text, &[Token::Run], &group);
                    } else {
                        let some = [Token::One, Token::Run];
                        push_wild(&mut tokens, &mut regex_text, &some, "(?s:.+)");
                    }
                }
                '}' => return Err(PatternError::UnopenedBrace),
                _ => {
                    tokens.push(Token::Char(first));
                    push_literal(&mut regex_text, first);
                    continue;
                }
            }
            prefix_bytes.get_or_insert(at_bytes);
            suffix = rest;
        }
        if tokens == [Token::Run] {
            tokens = vec![Token::One, Token::Run]; // a segment is never empty
        }
        regex_text.push_str(r"\z");
        Ok(Self {
            text: text.into(),
            prefix_bytes: small(prefix_bytes.unwrap_or(0)),
            suffix_bytes: small(suffix.len()),
            tokens: tokens.into(),
            regex: if has_regex { Some(compile(&regex_text)?) } else { None },
        })
    }

    /// The text before the first wildcard: every match begins with it.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.text[..usize::from(self.prefix_bytes)]
    }

    /// The text after the last wildcard: every match ends with it, and it does not overlap the
    /// prefix.
    #[must_use]
    pub fn suffix(&self) -> &str {
        &self.text[self.text.len() - usize::from(self.suffix_bytes)..]
    }

    fn matches(&self, part: &str) -> bool {
        match &self.regex {
            Some(regex) => {
                part.len() <= REGEX_PART_BYTES_MAX
                    && regex.is_match(&mut regex.create_cache(), part.as_bytes())
            }
            None => self.matches_tokens(part.chars().map(Token::Char)),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        self.text == other.text
            || (self.regex.is_none()
                && (*self.tokens == [Token::One, Token::Run]
                    || self.matches_tokens(other.tokens.iter().copied())))
    }

    fn matches_tokens(&self, others: impl Iterator<Item = Token> + Clone) -> bool {
        let is_run = |token: &Token| *token == Token::Run;
        glob(&self.tokens, others, is_run, |token, other| match token {
            Token::Char(_) => *token == other,
            Token::One => other != Token::Run,
            Token::Run => false,
        })
    }
}

/// Whether `pattern`, in which some steps take any number of items, takes all `items`.
///
/// On a mismatch only the last such step takes one more: what an earlier one could gain, the last
/// one can take as well. So the work is at most steps times items.
pub(super) fn glob<P, I: Iterator<Item: Copy> + Clone>(
    pattern: &[P],
    mut items: I,
    is_run: impl Fn(&P) -> bool,
    fits: impl Fn(&P, I::Item) -> bool,
) -> bool {
    let mut steps = pattern;
    let mut retry: Option<(&[P], I)> = None;
    loop {
        if let [step, after @ ..] = steps
            && is_run(step)
        {
            if after.is_empty() {
                return true;
            }
            retry = Some((after, items.clone()));
            steps = after;
            continue;
        }
        let mut ahead = items.clone();
        match (steps, ahead.next()) {
            ([], None) => return true,
            ([_, ..], None) => return false,
            ([step, after @ ..], Some(item)) if fits(step, item) => {
                steps = after;
                items = ahead;
            }
            ([], Some(_)) | ([_, ..], Some(_)) => {
                let Some((after, from)) = &mut retry else { return false };
                if from.next().is_none() {
                    return false;
                }
                steps = after;
                items = from.clone();
            }
        }
    }
}

/// Splits what follows a `{` into the name, its regex if any, and what follows the closing brace.
fn split_variable(text: &str) -> Result<(&str, Option<&str>, &str), PatternError> {
    let mut depth = 1_u32;
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let inside = &text[..at];
            return Ok(match inside.split_once(':') {
                Some((name, regex)) => (name, Some(regex), &text[at + 1..]),
                None => (inside, None, &text[at + 1..]),
            });
        }
    }
    Err(PatternError::UnclosedBrace)
}

fn check_name(name: &str) -> Result<(), PatternError> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(PatternError::Name);
    }
    Ok(())
}

/// Adds wildcards in their normal order, so that `*?` and `{name}` and `?**` are one thing.
fn push_wild(tokens: &mut Vec<Token>, regex_text: &mut String, wild: &[Token], regex: &str) {
    regex_text.push_str(regex);
    for &token in wild {
        match (tokens.last(), token) {
            (Some(Token::Run), Token::Run) => {}
            (Some(Token::Run), Token::One) => tokens.insert(tokens.len() - 1, token),
            (_, Token::Char(_) | Token::One | Token::Run) => tokens.push(token),
        }
    }
}

fn push_literal(regex_text: &mut String, literal: char) {
    // `\<` and `\>` mean something else; unescaped they mean themselves.
    if literal.is_ascii_punctuation() && !matches!(literal, '<' | '>') {
        regex_text.push('\\');
    }
    regex_text.push(literal);
}

/// Compiles a regex to be simulated step by step.
///
/// Faster engines keep tables that a few bytes of a peer can blow up to hundreds of KiB; this one
/// keeps the program alone, and its time is bounded by program times text.
fn compile(text: &str) -> Result<PikeVM, PatternError> {
    let limits = thompson::Config::new()
        .nfa_size_limit(Some(REGEX_COMPILED_BYTES_MAX))
        .which_captures(WhichCaptures::None);
    PikeVM::builder().thompson(limits).build(text).map_err(|error| match error.size_limit() {
        Some(_) => PatternError::RegexTooBig,
        None => PatternError::Regex,
    })
}

fn small(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("a pattern is at most PATTERN_BYTES_MAX")
}

const _: () = assert!(PATTERN_BYTES_MAX <= u16::MAX as usize);
