//! Rights: who may subscribe to what and send where.
//!
//! For: judging one destination, or one pattern, by the claims of a session. Rules only allow; what
//! no rule allows is refused. Must never know frames or sessions. Read `template` (how a claim
//! enters a pattern) after this.

mod template;

use std::fmt;

use crate::policy::auth::ClaimPath;
use crate::policy::auth::Claims;
use crate::policy::pattern::Pattern;
use crate::policy::rules::template::Template;

/// Most rules.
pub const RULES_COUNT_MAX: usize = 1024;

/// What a rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To subscribe.
    Subscribe,
    /// To send.
    Send,
}

/// One rule, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOptions {
    /// What it allows.
    pub action: Action,
    /// Where: an Ant pattern in which `{claims.<path>}` stands for a value of that claim.
    pub pattern: String,
    /// To whom: users with one of these roles; none means everybody.
    pub roles: Vec<String>,
    /// To whom: users whose claims have these values, each of them.
    pub claims: Vec<(String, String)>,
}

/// A rule that cannot work; the text says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError(pub String);

/// Why something is not allowed: what is missing, not what the rules are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// No rule is about it.
    NoRule,
    /// Rules are about parts of what the pattern matches, none about all of it.
    InPart,
    /// Only users with other claims may.
    Claim,
    /// Only users with another role may.
    Role,
}

impl fmt::Display for Denied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoRule => "no right is given for it",
            Self::InPart => "no one right covers all that the pattern matches; narrow it",
            Self::Claim => "your token lacks the claim that it needs",
            Self::Role => "your token lacks the role that it needs",
        })
    }
}

/// The rules in force.
#[derive(Clone, Debug)]
pub struct Rules {
    subscribe: Box<[Rule]>,
    send: Box<[Rule]>,
}

#[derive(Clone, Debug)]
struct Rule {
    template: Template,
    roles: Box<[Box<str>]>,
    claims: Box<[(ClaimPath, Box<str>)]>,
}

/// The rules of the contract where nobody proves anything: everything that is served.
const OPEN: &[(Action, &str)] =
    &[(Action::Subscribe, "/**"), (Action::Send, "/topic/**"), (Action::Send, "/queue/**")];
/// The rules of the contract once authentication is on.
const GUARDED: &[(Action, &str)] = &[
    (Action::Subscribe, "/topic/**"),
    (Action::Subscribe, "/queue/**"),
    (Action::Subscribe, "/user/queue/**"),
];
/// What both allow: routes decide about themselves.
const ROUTES: &[(Action, &str)] = &[(Action::Send, "/app/**"), (Action::Subscribe, "/app/**")];

impl Rules {
    /// The rules when the configuration has none.
    #[must_use]
    pub fn default_for(has_authentication: bool) -> Self {
        let rows = if has_authentication { GUARDED } else { OPEN };
        let rows: Vec<RuleOptions> = (rows.iter().chain(ROUTES))
            .map(|(action, pattern)| RuleOptions {
                action: *action,
                pattern: (*pattern).to_owned(),
                roles: Vec::new(),
                claims: Vec::new(),
            })
            .collect();
        Self::new(&rows).expect("a test reads the rows")
    }

    /// Compiles rules.
    ///
    /// # Errors
    ///
    /// The first that cannot work.
    pub fn new(rules: &[RuleOptions]) -> Result<Self, RuleError> {
        if RULES_COUNT_MAX < rules.len() {
            return Err(RuleError(format!("{} rules, more than {RULES_COUNT_MAX}", rules.len())));
        }
        let of = |action: Action| {
            let those = rules.iter().filter(|it| it.action == action);
            those.map(Rule::compile).collect::<Result<Box<[Rule]>, _>>()
        };
        Ok(Self { subscribe: of(Action::Subscribe)?, send: of(Action::Send)? })
    }

    /// The claims that the rules look at.
    #[must_use]
    pub fn claim_paths(&self) -> Vec<ClaimPath> {
        let all = self.subscribe.iter().chain(&self.send);
        let mut paths: Vec<ClaimPath> = all
            .flat_map(|it| it.claims.iter().map(|(path, _)| path).chain(it.template.claim_paths()))
            .cloned()
            .collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Whether one destination may be subscribed to or sent to.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn check(
        &self,
        action: Action,
        claims: Option<&Claims>,
        destination: &str,
    ) -> Result<(), Denied> {
        let mut denied = Denied::NoRule;
        for rule in self.of(action) {
            match rule.check(claims, |template| template.matches(claims, destination)) {
                Ok(()) => return Ok(()),
                Err(why) => denied = denied.max(why),
            }
        }
        Err(denied)
    }

    /// Whether everything that `pattern` matches may be subscribed to, by one rule.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn check_pattern(&self, claims: Option<&Claims>, pattern: &Pattern) -> Result<(), Denied> {
        let mut denied = Denied::NoRule;
        for rule in &self.subscribe {
            match rule.check(claims, |template| template.covers(claims, pattern)) {
                Ok(()) => return Ok(()),
                Err(why) => denied = denied.max(why),
            }
        }
        Err(denied.max(Denied::InPart))
    }

    fn of(&self, action: Action) -> &[Rule] {
        match action {
            Action::Subscribe => &self.subscribe,
            Action::Send => &self.send,
        }
    }
}

impl Rule {
    fn compile(options: &RuleOptions) -> Result<Self, RuleError> {
        let template = Template::parse(&options.pattern)
            .map_err(|why| RuleError(format!("rule \"{}\": {why}", options.pattern)))?;
        let roles = options.roles.iter().map(|it| it.as_str().into()).collect();
        let claims = options.claims.iter();
        let claims = claims.map(|(path, value)| (ClaimPath::new(path), value.as_str().into()));
        Ok(Self { template, roles, claims: claims.collect() })
    }

    fn check(
        &self,
        claims: Option<&Claims>,
        is_about: impl FnOnce(&Template) -> template::Match,
    ) -> Result<(), Denied> {
        match is_about(&self.template) {
            template::Match::No => return Err(Denied::NoRule),
            template::Match::OtherValue => return Err(Denied::Claim),
            template::Match::Yes => {}
        }
        let has_role = self.roles.is_empty()
            || claims.is_some_and(|it| it.roles.iter().any(|role| self.roles.contains(role)));
        if !has_role {
            return Err(Denied::Role);
        }
        let has = |path: &ClaimPath, value: &str| {
            claims.is_some_and(|it| it.values(path).iter().any(|it| **it == *value))
        };
        if !self.claims.iter().all(|(path, value)| has(path, value)) {
            return Err(Denied::Claim);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
