//! What `ringway doctor` says: a line for each thing it looked at.

use std::fmt;

use serde_json::json;

/// How good a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As it should be.
    Ok,
    /// The server does without, and would gain.
    Advice,
    /// It cannot be read here, as in many containers.
    Unknown,
    /// The server cannot do what is wanted of it.
    Low,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Advice => "advice",
            Self::Unknown => "unknown",
            Self::Low => "too low",
        }
    }
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What was looked at.
    pub name: String,
    /// How good it is.
    pub status: Status,
    /// What it is.
    pub value: String,
    /// What it has to be, or had better be, where that is known.
    pub needed: Option<String>,
    /// The exact thing to change; empty when nothing has to be.
    pub fix: String,
}

/// All that was looked at.
#[derive(Clone, Debug)]
pub struct Report {
    /// For how many connections.
    pub connections: u64,
    /// The lines, in the order of the table.
    pub lines: Vec<Line>,
}

impl Report {
    /// Whether nothing is too low.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.lines.iter().all(|it| it.status != Status::Low)
    }

    /// The report as one JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        let lines: Vec<_> = self
            .lines
            .iter()
            .map(|Line { name, status, value, needed, fix }| {
                json!({
                    "name": name,
                    "status": status.as_str(),
                    "value": value,
                    "needed": needed,
                    "fix": if fix.is_empty() { None } else { Some(fix) },
                })
            })
            .collect();
        let report = json!({ "connections": self.connections, "ok": self.is_ok(), "lines": lines });
        format!("{report:#}\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "for {} connections:", self.connections)?;
        for Line { name, status, value, needed, fix } in &self.lines {
            write!(f, "{:<8} {name:<36} {value}", status.as_str())?;
            match (status, needed) {
                (Status::Low | Status::Unknown, Some(needed)) => write!(f, ", needed {needed}")?,
                (Status::Advice, Some(better)) => write!(f, ", better {better}")?,
                (Status::Ok, _) | (_, None) => {}
            }
            writeln!(f)?;
            if !fix.is_empty() {
                writeln!(f, "{:9}{fix}", "")?;
            }
        }
        if self.is_ok() {
            writeln!(f, "nothing is too low")
        } else {
            let count = self.lines.iter().filter(|it| it.status == Status::Low).count();
            writeln!(f, "too low: {count}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(status: Status) -> Report {
        let line = Line {
            name: "nofile".into(),
            status,
            value: "1024".into(),
            needed: Some("6000".into()),
            fix: if status == Status::Low { "ulimit -n 6000".into() } else { String::new() },
        };
        Report { connections: 5000, lines: vec![line] }
    }

    #[test]
    fn only_what_is_too_low_fails() {
        for status in [Status::Ok, Status::Advice, Status::Unknown, Status::Low] {
            assert_eq!(report(status).is_ok(), status != Status::Low);
        }
    }

    #[test]
    fn a_line_says_what_is_needed_and_what_to_do() {
        let text = report(Status::Low).to_string();
        assert!(
            text.contains("1024, needed 6000\n         ulimit -n 6000\ntoo low: 1\n"),
            "{text}"
        );
        let text = report(Status::Ok).to_string();
        assert!(!text.contains("6000") && text.ends_with("nothing is too low\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report(Status::Low).json()).unwrap();
        assert_eq!((&json["ok"], &json["lines"][0]["needed"]), (&json!(false), &json!("6000")));
        assert_eq!(json["lines"][0]["status"], "too low");
    }
}
