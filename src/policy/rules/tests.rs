//! Rights, by example and against a naive model.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn claims(roles: &[&str], kept: &[(&str, &[&str])]) -> Claims {
    let texts = |list: &[&str]| list.iter().map(|it| (*it).into()).collect();
    Claims {
        user: "amy".into(),
        roles: texts(roles),
        kept: kept.iter().map(|(path, list)| (ClaimPath::new(path), texts(list))).collect(),
        expires_at_ms: u64::MAX,
        issued_at_ms: None,
        jti: None,
    }
}

fn rule(action: Action, pattern: &str, roles: &[&str], claims: &[(&str, &str)]) -> RuleOptions {
    RuleOptions {
        action,
        pattern: pattern.into(),
        roles: roles.iter().map(|it| (*it).into()).collect(),
        claims: claims.iter().map(|(path, value)| ((*path).into(), (*value).into())).collect(),
    }
}

fn rules() -> Rules {
    use Action::Send;
    use Action::Subscribe;
    let rows = [
        rule(Subscribe, "/topic/public.*", &[], &[]),
        rule(Subscribe, "/topic/room.{claims.rooms}", &[], &[]),
        rule(Subscribe, "/topic/{claims.tenant}/**", &["user", "admin"], &[]),
        rule(Subscribe, "/queue/**", &["admin"], &[("plan", "gold")]),
        rule(Send, "/topic/{claims.tenant}.{claims.rooms}", &[], &[]),
        rule(Send, "/user/{claims.sub}/**", &[], &[]),
    ];
    Rules::new(&rows).unwrap()
}

#[track_caller]
fn check(action: Action, who: &Claims, destination: &str, expected: Result<(), Denied>) {
    let actual = if action == Action::Subscribe && Pattern::is_pattern(destination) {
        rules().check_pattern(Some(who), &Pattern::parse(destination).unwrap())
    } else {
        rules().check(action, Some(who), destination)
    };
    assert_eq!(actual, expected, "{action:?} {destination}");
}

#[test]
fn a_rule_allows_by_role_claim_and_template() {
    let kept: &[(&str, &[&str])] =
        &[("rooms", &["1", "b/c"]), ("tenant", &["t"]), ("sub", &["100%"]), ("plan", &["gold"])];
    let amy = claims(&["user"], kept);
    let check = |action, destination, expected| check(action, &amy, destination, expected);
    check(Action::Subscribe, "/topic/public.x", Ok(()));
    check(Action::Subscribe, "/topic/public.x/y", Err(Denied::Claim));
    check(Action::Subscribe, "/topic/room.1", Ok(()));
    check(Action::Subscribe, "/topic/room.b%2Fc", Ok(()));
    check(Action::Subscribe, "/topic/room.b/c", Err(Denied::Claim));
    check(Action::Subscribe, "/topic/room.2", Err(Denied::Claim));
    check(Action::Subscribe, "/topic/room.11", Err(Denied::Claim));
    check(Action::Subscribe, "/topic/t/a/b", Ok(()));
    check(Action::Subscribe, "/topic/u/a/b", Err(Denied::Claim));
    check(Action::Subscribe, "/queue/x", Err(Denied::Role));
    check(Action::Send, "/topic/t.1", Ok(()));
    check(Action::Send, "/topic/t.2", Err(Denied::Claim));
    check(Action::Send, "/user/100%25/queue/x", Ok(()));
    check(Action::Send, "/user/bob/queue/x", Err(Denied::Claim));
    check(Action::Send, "/topic/public.x", Err(Denied::Claim));
    check(Action::Send, "/app/x", Err(Denied::NoRule));
}

#[test]
fn a_pattern_is_allowed_only_where_one_rule_covers_all_of_it() {
    let amy =
        claims(&["admin"], &[("rooms", &["1", "2"]), ("tenant", &["t"]), ("plan", &["gold"])]);
    let check = |destination, expected| check(Action::Subscribe, &amy, destination, expected);
    check("/topic/public.*", Ok(()));
    check("/topic/public.a?", Ok(()));
    check("/topic/public*", Err(Denied::InPart));
    check("/topic/t/*", Ok(()));
    check("/topic/t/**", Ok(()));
    check("/topic/*/x", Err(Denied::InPart));
    check("/topic/room.*", Err(Denied::InPart));
    check("/topic/room.{x}", Err(Denied::InPart));
    check("/topic/**", Err(Denied::InPart));
    check("/queue/**", Ok(()));
    check("/**", Err(Denied::InPart));
}

#[test]
fn a_claim_is_never_a_pattern() {
    let names = ["*", "**", "?", "{x}", "{x:.*}", "1*", "", "..", "}"];
    let eve = claims(&["user"], &[("rooms", &names), ("tenant", &names), ("sub", &["*"])]);
    for destination in ["/topic/room.1", "/topic/room.11", "/topic/a/b", "/topic/a/b/c"] {
        assert!(rules().check(Action::Subscribe, Some(&eve), destination).is_err());
    }
    for pattern in ["/topic/*/**", "/topic/room.*", "/topic/room.1*", "/topic/{x}/**", "/topic/?/*"]
    {
        let pattern = Pattern::parse(pattern).unwrap();
        assert!(rules().check_pattern(Some(&eve), &pattern).is_err(), "{pattern}");
    }
    assert!(rules().check(Action::Send, Some(&eve), "/user/bob/queue/x").is_err());
}

#[test]
fn nobody_has_no_claims() {
    let check = |action, destination: &str| rules().check(action, None, destination);
    assert_eq!(check(Action::Subscribe, "/topic/public.a"), Ok(()));
    assert_eq!(check(Action::Subscribe, "/topic/room.1"), Err(Denied::Claim));
    assert_eq!(check(Action::Subscribe, "/queue/x"), Err(Denied::Role));
}

#[test]
fn the_default_rules_are_those_of_the_contract() {
    let amy = claims(&[], &[]);
    let guarded = Rules::default_for(true);
    for destination in ["/topic/a", "/queue/a/b", "/user/queue/x"] {
        assert_eq!(guarded.check(Action::Subscribe, Some(&amy), destination), Ok(()));
    }
    assert!(guarded.check(Action::Send, Some(&amy), "/app/room.1").is_ok());
    for destination in ["/topic/a", "/queue/a", "/user/bob/queue/x"] {
        let denied = guarded.check(Action::Send, Some(&amy), destination);
        assert_eq!(denied, Err(Denied::NoRule));
    }
    let all = Pattern::parse("/topic/**").unwrap();
    assert!(guarded.check_pattern(Some(&amy), &all).is_ok());
    assert!(guarded.check_pattern(Some(&amy), &Pattern::parse("/**").unwrap()).is_err());
    let open = Rules::default_for(false);
    assert!(open.check(Action::Send, None, "/topic/a").is_ok());
    assert!(open.check(Action::Send, None, "/user/bob/queue/x").is_err());
    assert!(open.check(Action::Subscribe, None, "/user/queue/x").is_ok());
    assert!(open.check_pattern(None, &all).is_ok());
}

#[test]
fn rules_say_which_claims_they_need() {
    let paths = rules().claim_paths();
    let paths: Vec<&str> = paths.iter().map(ClaimPath::as_str).collect();
    assert_eq!(paths, ["plan", "rooms", "sub", "tenant"]);
}

#[test]
fn a_rule_that_cannot_work_is_told() {
    let check = |pattern: &str, why: &str| {
        let error = Rules::new(&[rule(Action::Send, pattern, &[], &[])]).unwrap_err();
        assert!(error.0.contains(why), "{}", error.0);
    };
    check("topic/x", "begins with /");
    check("/topic/{claims.}", "names a claim");
    check("/topic/{claims.a:x}", "no regex");
    check("/topic/{a", "not closed");
    check(&"/{claims.a}".repeat(5), "more than 4");
}

/// A template as a list of tokens, for the model and for the text.
#[derive(Clone, Debug)]
enum Token {
    Text(&'static str),
    Star,
    Deep,
    Claim(usize),
}

const PATHS: [&str; 2] = ["c0", "c1.x"];
const VALUES: &[&str] = &["a", "b", "ab", "*", "a/b", "?", "{x}", "%", ""];

fn text_of(segments: &[Vec<Token>]) -> String {
    let one = |token: &Token| match token {
        Token::Text(text) => (*text).to_owned(),
        Token::Star => "*".to_owned(),
        Token::Deep => "**".to_owned(),
        Token::Claim(index) => format!("{{claims.{}}}", PATHS[*index]),
    };
    segments.iter().map(|it| format!("/{}", it.iter().map(one).collect::<String>())).collect()
}

/// Whether the segments match the parts, said without regard to time.
fn model(segments: &[Vec<Token>], parts: &[&str], values: &[Vec<&str>; 2]) -> bool {
    let Some((segment, rest)) = segments.split_first() else { return parts.is_empty() };
    if let [Token::Deep] = segment[..] {
        return (0..=parts.len()).any(|it| model(rest, &parts[it..], values));
    }
    let Some((part, others)) = parts.split_first() else { return false };
    model_part(segment, part, values) && model(rest, others, values)
}

fn model_part(tokens: &[Token], text: &str, values: &[Vec<&str>; 2]) -> bool {
    let Some((token, rest)) = tokens.split_first() else { return text.is_empty() };
    let after =
        |prefix: &str| text.strip_prefix(prefix).is_some_and(|text| model_part(rest, text, values));
    match token {
        Token::Text(literal) => after(literal),
        Token::Star | Token::Deep => (0..=text.len())
            .any(|it| text.is_char_boundary(it) && model_part(rest, &text[it..], values)),
        Token::Claim(index) => values[*index].iter().any(|value| {
            let encoded = value.replace('%', "%25").replace('/', "%2F");
            !value.is_empty() && after(&encoded)
        }),
    }
}

fn some_segments() -> impl Strategy<Value = Vec<Vec<Token>>> {
    let token = prop_oneof![
        select(vec!["a", "b", "."]).prop_map(Token::Text),
        Just(Token::Star),
        (0..2_usize).prop_map(Token::Claim),
    ];
    let segment = prop_oneof![
        4 => prop::collection::vec(token, 1..4),
        1 => Just(vec![Token::Deep]),
    ];
    // Two stars beside each other would be another token.
    prop::collection::vec(segment, 1..4).prop_filter("no ** inside", |segments| {
        let doubled =
            |it: &Vec<Token>| it.windows(2).any(|it| matches!(it, [Token::Star, Token::Star]));
        !segments.iter().any(doubled)
    })
}

fn some_values() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(select(VALUES), 0..3)
}

fn some_parts() -> impl Strategy<Value = Vec<String>> {
    let part = prop_oneof!["[ab.]{1,3}", Just("a%2Fb".to_owned()), Just("%25".to_owned())];
    prop::collection::vec(part, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn rights_equal_the_naive_model(
        rows in prop::collection::vec((some_segments(), 0..3_usize, 0..2_usize), 1..4),
        values in (some_values(), some_values()),
        has_role in any::<bool>(),
        parts in some_parts(),
    ) {
        let roles: &[&[&str]] = &[&[], &["r"], &["s", "r"]];
        let needed: &[&[(&str, &str)]] = &[&[], &[("c0", "a")]];
        let options: Vec<RuleOptions> = (rows.iter())
            .map(|(segments, role, need)| {
                rule(Action::Send, &text_of(segments), roles[*role], needed[*need])
            })
            .collect();
        let Ok(rules) = Rules::new(&options) else { return Ok(()) };
        let destination: String = parts.iter().map(|it| format!("/{it}")).collect();
        let values = [values.0, values.1];
        let who = claims(
            if has_role { &["r"] } else { &[] },
            &[(PATHS[0], &values[0]), (PATHS[1], &values[1])],
        );
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let expected = rows.iter().any(|(segments, role, need)| {
            model(segments, &parts, &values)
                && (*role == 0 || has_role)
                && (*need == 0 || values[0].contains(&"a"))
        });
        prop_assert_eq!(rules.check(Action::Send, Some(&who), &destination).is_ok(), expected);
    }

    #[test]
    fn what_a_pattern_may_every_destination_of_it_may(
        segments in some_segments(),
        values in (some_values(), some_values()),
        asked in some_segments(),
        parts in some_parts(),
    ) {
        let Ok(rules) = Rules::new(&[rule(Action::Subscribe, &text_of(&segments), &[], &[])]) else {
            return Ok(());
        };
        let who = claims(&[], &[(PATHS[0], &values.0), (PATHS[1], &values.1)]);
        let Ok(pattern) = Pattern::parse(&text_of(&asked)) else { return Ok(()) };
        let destination: String = parts.iter().map(|it| format!("/{it}")).collect();
        if rules.check_pattern(Some(&who), &pattern).is_ok() && pattern.matches(&destination) {
            prop_assert!(rules.check(Action::Subscribe, Some(&who), &destination).is_ok());
        }
    }
}
