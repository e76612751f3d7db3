//! A route's match as a regular expression.

/// Turns a route's match into an anchored expression with one capture per name.
pub(super) fn expression_of(pattern: &str) -> Result<(String, Vec<String>), String> {
    let mut expression = String::from("^");
    let mut names: Vec<String> = Vec::new();
    for (index, segment) in pattern.split('/').enumerate() {
        if 0 < index {
            expression.push('/');
        }
        let mut rest = segment;
        while let Some(position) = rest.find(['{', '*']) {
            expression.push_str(&regex::escape(&rest[..position]));
            rest = &rest[position..];
            if let Some(after) = rest.strip_prefix("**") {
                expression.push_str(".*");
                rest = after;
            } else if let Some(after) = rest.strip_prefix('*') {
                expression.push_str("[^/.]*");
                rest = after;
            } else {
                let (name, after) = rest[1..].split_once('}').ok_or("a { has no }")?;
                if name.is_empty() || names.iter().any(|it| it == name) {
                    return Err(format!("the name {{{name}}} is empty or bound twice"));
                }
                let is_whole = rest.len() == segment.len() && after.is_empty();
                expression.push_str(if is_whole { "([^/]+)" } else { "([^/.]+)" });
                names.push(name.to_owned());
                rest = after;
            }
        }
        expression.push_str(&regex::escape(rest));
    }
    expression.push('$');
    Ok((expression, names))
}
