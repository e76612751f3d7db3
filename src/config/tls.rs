//! What must be true of the public listener's TLS settings together.

use crate::config::error::ConfigError;
use crate::config::load::Loaded;
use crate::config::value::Value;

impl Loaded {
    /// Finds a certificate without its key, and what has no use without both.
    pub(super) fn tls_contradictions(&self) -> Result<(), ConfigError> {
        let is_given =
            |key: &str| self.entries.iter().any(|it| it.knob.key == key && it.value != Value::None);
        for (key, other, problem) in [
            ("tls.cert", "tls.key", "a certificate without its key"),
            ("tls.key", "tls.cert", "a key without its certificate"),
            ("tls.client_ca", "tls.cert", "without TLS no client shows a certificate"),
        ] {
            if is_given(key) && !is_given(other) {
                return Err(self.wrong(key, problem, &format!("set {other} too, or remove it")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load::load;
    use crate::config::source::Flag;
    use crate::config::source::Sources;

    #[track_caller]
    fn check(flags: &[(&str, &str)], expected: Result<bool, &str>) {
        let flag = |it: &(&str, &str)| {
            let [flag, key, value] = ["--set", it.0, it.1].map(str::to_owned);
            Flag { flag, key, value }
        };
        let flags = flags.iter().map(flag).collect();
        let loaded = load(&Sources { flags, ..Sources::default() });
        let has_tls = loaded.map(|it| it.settings.tls.is_some()).map_err(|it| it.to_string());
        assert_eq!(has_tls.as_ref().map_err(String::as_str).copied(), expected);
    }

    #[test]
    fn a_certificate_comes_with_its_key_and_a_client_ca_with_both() {
        let (cert, key, ca) = (("tls.cert", "/c"), ("tls.key", "/k"), ("tls.client_ca", "/a"));
        check(&[], Ok(false));
        check(&[cert, key], Ok(true));
        check(&[cert, key, ca], Ok(true));
        let wrong = "tls.cert = \"/c\" (flag --set): a certificate without its key; set tls.key \
                     too, or remove it";
        check(&[cert], Err(wrong));
        let wrong = "tls.key = \"/k\" (flag --set): a key without its certificate; set tls.cert \
                     too, or remove it";
        check(&[key, ca], Err(wrong));
        let wrong = "tls.client_ca = \"/a\" (flag --set): without TLS no client shows a \
                     certificate; set tls.cert too, or remove it";
        check(&[ca], Err(wrong));
    }
}
