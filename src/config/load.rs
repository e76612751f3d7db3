//! File, then environment, then flags: the last word wins, and the whole must make sense.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use crate::config::catalogue;
use crate::config::catalogue::KNOBS;
use crate::config::catalogue::LATER;
use crate::config::environment;
use crate::config::error::ConfigError;
use crate::config::error::Wrong;
use crate::config::file;
use crate::config::knob::Knob;
use crate::config::redis_url;
use crate::config::route;
use crate::config::settings::MASK;
use crate::config::settings::RouteSettings;
use crate::config::settings::RuleSettings;
use crate::config::settings::Settings;
use crate::config::source::Origin;
use crate::config::source::Sources;
use crate::config::suggest;
use crate::config::value::Value;
use crate::config::value::Values;

/// A configuration that is valid.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub settings: Settings,
    /// Each knob with its value and where it came from, in the order of the catalogue.
    pub entries: Vec<Entry>,
    /// Where the routes came from, one for one with those of `settings`.
    pub route_origins: Vec<Origin>,
    /// What the operator should know before serving: one sentence each, without secrets.
    pub warnings: Vec<String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// What was looked at, to look again.
    pub(super) sources: Sources,
}

/// One knob's effective value.
#[derive(Clone)]
pub struct Entry {
    /// The row of the catalogue.
    pub knob: &'static Knob,
    /// The value; secrets are in the clear.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.knob.secret {
            write!(f, "{} = {MASK} ({})", self.knob.key, self.origin)
        } else {
            write!(f, "{} = {} ({})", self.knob.key, self.value, self.origin)
        }
    }
}

/// A text for a key, not yet checked.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// Works out the effective configuration. Reads nothing but the files that `sources` names.
///
/// # Errors
///
/// The first thing that is wrong: an unreadable file, an unknown key, a value out of its bounds,
/// or two values that contradict each other.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut effective: BTreeMap<&'static str, (Value, Origin)> = BTreeMap::new();
    for knob in KNOBS {
        effective.insert(knob.key, (default(knob), Origin::Default));
    }
    let mut routes = None;
    let mut rules = None;
    let mut given: Vec<Given> = environment::platform(sources).into_iter().collect();
    if let Some(path) = &sources.file {
        let contents = file::parse(path, &read_file(sources, path)?)?;
        given.extend(contents.given);
        routes = contents.routes;
        rules = contents.rules;
    }
    given.extend(environment::parse(sources)?);
    given.extend(flags(sources)?);
    // Every source is checked, also where a later one wins: a wrong line is wrong today.
    for Given { key, value, origin } in given {
        let knob = catalogue::find(&key)
            .ok_or_else(|| unknown_key(&key, Some(value.clone()), origin.clone()))?;
        let value = parse(knob, &value, &origin)?;
        effective.insert(knob.key, (value, origin));
    }

    let routes = match routes {
        Some(routes) => routes,
        None => route::defaults().into_iter().map(|it| (it, Origin::Default)).collect(),
    };
    assemble(effective, routes, rules, sources)
}

/// Makes the whole of its parts: a value for each knob, and the routes.
pub(super) fn assemble(
    mut effective: BTreeMap<&'static str, (Value, Origin)>,
    routes: Vec<(RouteSettings, Origin)>,
    rules: Option<Vec<RuleSettings>>,
    sources: &Sources,
) -> Result<Loaded, ConfigError> {
    let mut values = Values(effective.iter().map(|(key, it)| (*key, it.0.clone())).collect());
    let (routes, route_origins) = routes.into_iter().unzip();
    let settings = Settings::build(&mut values, routes, rules);
    assert!(values.0.is_empty(), "a knob without a field: {:?}", values.0.keys());
    let entry = |knob: &'static Knob| {
        let (value, origin) = effective.remove(knob.key).expect("every knob has its default");
        Entry { knob, value, origin }
    };
    let entries = KNOBS.iter().map(entry).collect();
    let mut loaded = Loaded {
        settings,
        entries,
        route_origins,
        warnings: Vec::new(),
        file: sources.file.clone(),
        sources: sources.clone(),
    };
    loaded.contradictions()?;
    loaded.read_relay_ca(sources)?;
    loaded.check_history_ca(sources)?;
    loaded.warnings = loaded.warnings();
    Ok(loaded)
}

fn read_file(sources: &Sources, path: &Path) -> Result<String, ConfigError> {
    (sources.read)(path).map_err(|error| {
        ConfigError::from(Wrong {
            subject: "configuration file".into(),
            value: Some(path.display().to_string()),
            origin: None,
            problem: format!("cannot read it: {error}"),
            remedy: "name a readable TOML file with --config or RINGWAY_CONFIG".into(),
        })
    })
}

fn flags(sources: &Sources) -> Result<Vec<Given>, ConfigError> {
    let mut given: Vec<Given> = Vec::new();
    for it in &sources.flags {
        let origin = Origin::Flag(it.flag.clone());
        if let Some(other) = given.iter().find(|other| other.key == it.key) {
            return Err(ConfigError::from(Wrong {
                subject: it.key.clone(),
                value: None,
                origin: Some(origin),
                problem: format!("also given by {}", other.origin),
                remedy: "give it once".into(),
            }));
        }
        given.push(Given { key: it.key.clone(), value: it.value.clone(), origin });
    }
    Ok(given)
}

fn default(knob: &Knob) -> Value {
    if knob.default == "none" {
        return Value::None;
    }
    knob.kind.parse(knob.default).expect("a test holds the defaults within their bounds")
}

fn parse(knob: &Knob, text: &str, origin: &Origin) -> Result<Value, ConfigError> {
    knob.kind.parse(text).map_err(|it| {
        ConfigError::from(Wrong {
            subject: knob.key.into(),
            value: Some(knob.shown(text)),
            origin: Some(origin.clone()),
            problem: it.problem,
            remedy: it.remedy,
        })
    })
}

/// The error for a key that is not in the catalogue.
pub(super) fn unknown_key(key: &str, value: Option<String>, origin: Origin) -> ConfigError {
    let later = LATER.iter().find(|(prefix, _)| {
        key.strip_prefix(prefix).is_some_and(|it| it.is_empty() || it.starts_with('.'))
    });
    if let Some((_, missing)) = later {
        return not_yet(key, None, origin, missing);
    }
    let near = suggest::nearest(key, KNOBS.iter().map(|it| it.key)).and_then(catalogue::find);
    // What follows a misspelt `admin.token` is a secret all the same.
    let value = value.filter(|_| !near.is_some_and(Knob::has_secret));
    let remedy = match near {
        Some(near) => format!("did you mean {}?", near.key),
        None if key == "route" => "routes are written in the file, as [[route]]".into(),
        None if key == "rule" => "rules are written in the file, as [[rule]]".into(),
        None => "remove it, or see `ringway config table` for all settings".into(),
    };
    ConfigError::from(Wrong {
        subject: key.into(),
        value: value.map(|it| format!("{:?}", redis_url::mask(&it))),
        origin: Some(origin),
        problem: "unknown setting".into(),
        remedy,
    })
}

/// The error for a setting of a later version.
pub(super) fn not_yet(
    key: &str,
    value: Option<String>,
    origin: Origin,
    missing: &str,
) -> ConfigError {
    ConfigError::from(Wrong {
        subject: key.into(),
        value,
        origin: Some(origin),
        problem: format!("this version has no {missing} yet"),
        remedy: "remove the setting".into(),
    })
}

impl Loaded {
    /// Finds settings that are valid alone and wrong together.
    fn contradictions(&self) -> Result<(), ConfigError> {
        let Settings { server, admin, limits, stomp, .. } = &self.settings;
        if !admin.listen.ip().is_loopback() && admin.token.is_none() {
            return Err(self.wrong(
                "admin.listen",
                "not a loopback address, and there is no admin.token",
                "set admin.token (RINGWAY_ADMIN_TOKEN_FILE), or listen on 127.0.0.1",
            ));
        }
        let [public, private] = [server.listen, admin.listen];
        let same_host = public.ip() == private.ip()
            || public.ip().is_unspecified()
            || private.ip().is_unspecified();
        if public.port() != 0 && public.port() == private.port() && same_host {
            let problem = format!("the same port as server.listen = {public}");
            return Err(self.wrong("admin.listen", &problem, "give one of them another port"));
        }
        if stomp.heart_beat_max < stomp.heart_beat_min {
            return Err(self.wrong(
                "stomp.heart_beat_min",
                "above stomp.heart_beat_max",
                "lower it, or raise stomp.heart_beat_max",
            ));
        }
        if limits.stomp_header_bytes < limits.destination_bytes {
            return Err(self.wrong(
                "limits.destination_bytes",
                "above limits.stomp_header_bytes, so that no header can carry it",
                "lower it, or raise limits.stomp_header_bytes",
            ));
        }
        if limits.outbox_bytes.is_some_and(|it| it < limits.message_bytes) {
            return Err(self.wrong(
                "limits.outbox_bytes",
                "below limits.message_bytes, so that one message makes a slow consumer",
                "raise it, lower limits.message_bytes, or give auto",
            ));
        }
        if limits.outbox_total_bytes.zip(limits.outbox_bytes).is_some_and(|(all, one)| all < one) {
            return Err(self.wrong(
                "limits.outbox_total_bytes",
                "below limits.outbox_bytes, so that one peer could take it all",
                "raise it, lower limits.outbox_bytes, or give auto",
            ));
        }
        if self.settings.drain.deadline <= self.settings.drain.window {
            let problem = "not longer than drain.window, so that the closes could not be spread";
            return Err(self.wrong("drain.deadline", problem, "raise it, or lower drain.window"));
        }
        if !self.settings.metrics.service.is_ascii() {
            let problem = "CloudWatch takes no dimension with other characters than ASCII";
            return Err(self.wrong("metrics.service", problem, "use ASCII characters only"));
        }
        self.auth_contradictions()?;
        self.tls_contradictions()?;
        self.relay_contradictions()?;
        self.history_contradictions()
    }

    /// An error about the effective value of `key`, which is a key of the catalogue.
    /// The setting `key` is wrong: this is what is said of it.
    ///
    /// # Panics
    ///
    /// When there is no such setting.
    #[must_use]
    pub fn wrong(&self, key: &str, problem: &str, remedy: &str) -> ConfigError {
        let entry = self.entries.iter().find(|it| it.knob.key == key);
        let entry = entry.expect("every knob has an entry");
        let shown = if entry.knob.secret { MASK.into() } else { entry.value.to_string() };
        ConfigError::from(Wrong {
            subject: key.into(),
            value: Some(shown),
            origin: Some(entry.origin.clone()),
            problem: problem.into(),
            remedy: remedy.into(),
        })
    }

    fn warnings(&self) -> Vec<String> {
        self.relay_warning()
            .into_iter()
            .chain(self.history_warning())
            .chain(self.auth_warnings())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::io::Write;
    use std::time::Duration;

    use super::*;
    use crate::config::settings::Driver;
    use crate::config::settings::LogFormat;
    use crate::config::settings::Pin;
    use crate::config::settings::RouteTarget;
    use crate::config::source::Flag;

    fn sources(environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
        let own = |it: &(&str, &str)| (it.0.to_owned(), it.1.to_owned());
        let flag = |it: &(&str, &str)| {
            let knob = catalogue::find(it.0).and_then(|it| it.flag).unwrap_or("--set");
            Flag { flag: knob.into(), key: it.0.into(), value: it.1.into() }
        };
        Sources {
            environment: environment.iter().map(own).collect(),
            flags: flags.iter().map(flag).collect(),
            ..Sources::default()
        }
    }

    /// Loads `text` as the file, with `sources`; errors call the file `file`.
    fn load_file(text: &str, mut sources: Sources) -> Result<Loaded, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary folder");
        file.write_all(text.as_bytes()).expect("room for it");
        let path = file.path().to_owned();
        sources.file = Some(path.clone());
        let name = path.display().to_string();
        load(&sources).map_err(|it| it.to_string().replace(&name, "file"))
    }

    #[track_caller]
    fn check_file(text: &str, expected: &str) {
        let error = load_file(text, Sources::default()).map(|it| it.settings);
        assert_eq!(error, Err(expected.into()));
    }

    #[track_caller]
    fn check_environment(environment: &[(&str, &str)], expected: &str) {
        let error = load(&sources(environment, &[])).map(|it| it.settings);
        assert_eq!(error.map_err(|it| it.to_string()), Err(expected.into()));
    }

    #[track_caller]
    fn check_flags(flags: &[(&str, &str)], expected: &str) {
        let error = load(&sources(&[], flags)).map(|it| it.settings);
        assert_eq!(error.map_err(|it| it.to_string()), Err(expected.into()));
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let Loaded { settings, entries, warnings, .. } = load(&Sources::default()).unwrap();
        assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:9090");
        assert_eq!(settings.server.cores, None);
        assert_eq!(settings.limits.message_bytes, 65_536);
        assert_eq!(settings.limits.outbox_seconds, Duration::from_secs(10));
        assert_eq!(settings.stomp.heart_beat_max, Duration::from_secs(25));
        assert_eq!(settings.routes, route::defaults());
        assert_eq!(settings.auth.origins, Vec::<String>::new());
        assert!(entries.iter().all(|it| it.origin == Origin::Default));
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn every_choice_of_the_catalogue_has_its_value() {
        for knob in KNOBS {
            if let crate::config::Kind::Choice { names, .. } = knob.kind {
                for name in names {
                    let key = ("auth.jwt.keys", "/keys.json");
                    let trusted = ("server.trusted_proxies", "::1");
                    let flags = [(knob.key, *name), ("relay.url", "redis://a"), key, trusted];
                    load(&sources(&[], &flags)).unwrap();
                }
            }
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let text = "[server]\ncores = 1\npin = \"on\"\necho = true\n\n[log]\nformat = \"json\"\n";
        let variables = [("RINGWAY_SERVER_CORES", "2"), ("RINGWAY_SERVER_PIN", "off")];
        let loaded = load_file(text, sources(&variables, &[("server.cores", "3")])).unwrap();
        assert_eq!(loaded.settings.server.cores, Some(3));
        assert_eq!(loaded.settings.server.pin, Pin::Off);
        assert!(loaded.settings.server.echo);
        assert_eq!(loaded.settings.log.format, LogFormat::Json);
        let origin = |key: &str| {
            let entry = loaded.entries.iter().find(|it| it.knob.key == key);
            entry.map(|it| it.origin.clone())
        };
        assert_eq!(origin("server.cores"), Some(Origin::Flag("--cores".into())));
        assert_eq!(origin("server.pin"), Some(Origin::Environment("RINGWAY_SERVER_PIN".into())));
        let file = |line| loaded.file.clone().map(|it| Origin::File(it, line));
        assert_eq!(origin("server.echo"), file(4));
        assert_eq!(origin("log.format"), file(7));
        assert_eq!(origin("log.level"), Some(Origin::Default));
    }

    #[test]
    fn a_file_may_write_values_in_every_sensible_form() {
        let text = "
            server.listen = '[::1]:80'
            server.ping_interval = 30
            server.close_timeout = '500ms'
            io = { driver = 'epoll', ring_entries = 0x80 }
            auth.origins = ['https://a.example', 'https://*.b.example']
            limits.message_bytes = 1_024
            limits.outbox_bytes = '2MiB'
            limits.connections = 'auto'
            [stomp]
        ";
        let settings = load_file(text, Sources::default()).unwrap().settings;
        assert_eq!(settings.server.listen.to_string(), "[::1]:80");
        assert_eq!(settings.server.ping_interval, Duration::from_secs(30));
        assert_eq!(settings.server.close_timeout, Duration::from_millis(500));
        assert_eq!((settings.io.driver, settings.io.ring_entries), (Driver::Epoll, 128));
        assert_eq!(settings.auth.origins, ["https://a.example", "https://*.b.example"]);
        assert_eq!(settings.limits.message_bytes, 1024);
        assert_eq!(settings.limits.outbox_bytes, Some(2 << 20));
        assert_eq!(settings.limits.connections, None);
    }

    #[test]
    fn unknown_keys_are_refused_with_what_was_meant() {
        check_file(
            "[server]\nlisten = '127.0.0.1:1'\ncoers = 2\n",
            "server.coers = \"2\" (file:3): unknown setting; did you mean server.cores?",
        );
        check_file(
            "[sever]\nlisten = '127.0.0.1:1'\n",
            "sever.listen = \"127.0.0.1:1\" (file:2): unknown setting; did you mean server.listen?",
        );
        check_file(
            "echo = true",
            "echo = \"true\" (file:1): unknown setting; did you mean server.echo?",
        );
        check_file(
            "[admin]\ntokn = { x = 1 }\n",
            "admin.tokn.x (file:2): unknown setting; did you mean admin.token?",
        );
        check_file(
            "server = 3",
            "server = \"3\" (file:1): unknown setting; remove it, or see `ringway config table` \
             for all settings",
        );
        check_environment(
            &[("RINGWAY_SERVER_CORE", "2")],
            "RINGWAY_SERVER_CORE (environment RINGWAY_SERVER_CORE): unknown setting; did you mean \
             RINGWAY_SERVER_CORES?",
        );
        check_flags(
            &[("server.lisen", "x")],
            "server.lisen = \"x\" (flag --set): unknown setting; did you mean server.listen?",
        );
        check_flags(
            &[("route", "x")],
            "route = \"x\" (flag --set): unknown setting; routes are written in the file, as \
             [[route]]",
        );
    }

    #[test]
    fn settings_of_later_versions_say_so() {
        check_environment(
            &[("RINGWAY_SERVER_DEMO", "x")],
            "RINGWAY_SERVER_DEMO (environment RINGWAY_SERVER_DEMO): this version has no demo page \
             yet; remove the setting",
        );
    }

    #[test]
    fn values_out_of_bounds_name_the_bounds() {
        check_file(
            "limits.message_bytes = '65MiB'",
            "limits.message_bytes = \"65MiB\" (file:1): above the maximum; give 256 to 64MiB, such \
             as 4096, 64KiB or 1MiB",
        );
        check_flags(
            &[("server.cores", "65")],
            "server.cores = \"65\" (flag --cores): above the maximum; give auto or 1 to 64",
        );
        check_flags(
            &[("server.ping_interval", "1.5")],
            "server.ping_interval = \"1.5\" (flag --set): not a duration; give 100ms to 1h, such \
             as 10s, 500ms or 2m",
        );
        check_file(
            "server.backlog = 1.5",
            "server.backlog = \"1.5\" (file:1): not a whole number; give 1 to 65535",
        );
        check_file(
            "server.backlog = 1979-05-27",
            "server.backlog (file:1): its value is a datetime; give a number, a text, true or \
             false, or a list of texts",
        );
    }

    #[test]
    fn a_wrong_line_is_wrong_also_where_a_later_source_wins() {
        let flags = sources(&[], &[("server.cores", "2")]);
        assert!(load_file("server.cores = 'many'", flags).is_err());
    }

    #[test]
    fn what_is_not_toml_names_its_line() {
        let error = load_file("[server]\necho = \n", Sources::default()).unwrap_err();
        assert!(error.starts_with("configuration file (file:2): not TOML: "), "{error}");
        assert!(!error.contains('\n'));
        let error = load_file("a = 1\na = 2\n", Sources::default()).unwrap_err();
        assert!(error.contains("duplicate key"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(&Sources { file: Some("/no/such".into()), ..Sources::default() });
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("configuration file = /no/such: cannot read it: "), "{error}");
    }

    #[test]
    fn contradictions_name_both_settings() {
        check_flags(
            &[("admin.listen", "0.0.0.0:9090")],
            "admin.listen = \"0.0.0.0:9090\" (flag --admin-listen): not a loopback address, and \
             there is no admin.token; set admin.token (RINGWAY_ADMIN_TOKEN_FILE), or listen on \
             127.0.0.1",
        );
        check_flags(
            &[("server.listen", "0.0.0.0:9090")],
            "admin.listen = \"127.0.0.1:9090\" (default): the same port as server.listen = \
             0.0.0.0:9090; give one of them another port",
        );
        check_flags(
            &[("stomp.heart_beat_min", "26s")],
            "stomp.heart_beat_min = \"26s\" (flag --set): above stomp.heart_beat_max; lower it, or \
             raise stomp.heart_beat_max",
        );
        for flags in [
            [("limits.outbox_bytes", "4KiB"), ("log.level", "info")],
            [("limits.outbox_total_bytes", "1MiB"), ("limits.outbox_bytes", "2MiB")],
            [("limits.stomp_header_bytes", "256"), ("log.level", "info")],
        ] {
            assert!(load(&sources(&[], &flags)).is_err(), "{flags:?}");
        }
        let ports_from_the_kernel =
            [("server.listen", "127.0.0.1:0"), ("admin.listen", "127.0.0.1:0")];
        assert!(load(&sources(&[], &ports_from_the_kernel)).is_ok());
    }

    #[test]
    fn one_source_gives_a_value_once() {
        check_flags(
            &[("server.cores", "1"), ("server.cores", "2")],
            "server.cores (flag --cores): also given by flag --cores; give it once",
        );
    }

    #[test]
    fn secrets_come_from_files_too_and_are_never_shown() {
        fn read(path: &Path) -> io::Result<String> {
            assert_eq!(path, Path::new("/run/secrets/token"));
            Ok("a-token-from-a-file\n".into())
        }
        let variable = ("RINGWAY_ADMIN_TOKEN_FILE", "/run/secrets/token");
        let from_file = Sources { read, ..sources(&[variable], &[]) };
        let loaded = load(&from_file).unwrap();
        let token = loaded.settings.admin.token.clone();
        assert_eq!(token.as_ref().map(|it| it.reveal()), Some("a-token-from-a-file"));
        assert!(!format!("{loaded:?}").contains("from-a-file"));

        let both = [variable, ("RINGWAY_ADMIN_TOKEN", "another-long-token")];
        let error = load(&Sources { read, ..sources(&both, &[]) }).unwrap_err().to_string();
        assert!(error.contains("set only one of the two"), "{error}");
        check_environment(
            &[("RINGWAY_ADMIN_TOKEN", "hunter2")],
            "admin.token = ******** (environment RINGWAY_ADMIN_TOKEN): too short with 7 \
             characters; give 16 to 1024 visible ASCII characters",
        );
        check_environment(
            &[("RINGWAY_SERVER_CORES_FILE", "/x")],
            "RINGWAY_SERVER_CORES_FILE (environment RINGWAY_SERVER_CORES_FILE): unknown setting; \
             only secrets are read from files; set RINGWAY_SERVER_CORES",
        );
    }

    #[test]
    fn service_links_of_an_orchestrator_are_not_settings() {
        let variables = [
            ("RINGWAY_SERVICE_HOST", "10.0.0.1"),
            ("RINGWAY_SERVICE_PORT", "80"),
            ("RINGWAY_SERVICE_PORT_WS", "80"),
            ("RINGWAY_PORT", "tcp://10.0.0.1:80"),
            ("RINGWAY_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("RINGWAY_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("RINGWAY_ADMIN_PORT_9090_TCP_PROTO", "tcp"),
            ("RINGWAY_CONFIG", "read by the command line"),
            ("PATH", "/bin"),
        ];
        assert!(load(&sources(&variables, &[])).is_ok());
        assert!(load(&sources(&[("RINGWAY_PORT", "8080")], &[])).is_err());
    }

    #[test]
    fn ecs_tells_the_task_unless_somebody_else_does() {
        let uri = "http://169.254.170.2/v4/0123456789abcdef0123456789abcdef-3456789012";
        let ecs = ("ECS_CONTAINER_METADATA_URI_V4", uri);
        let task = |environment: &[(&str, &str)]| {
            load(&sources(environment, &[])).unwrap().settings.metrics.task
        };
        assert_eq!(task(&[]), None);
        assert_eq!(task(&[ecs]).as_deref(), Some("0123456789abcdef0123456789abcdef"));
        assert_eq!(task(&[ecs, ("RINGWAY_METRICS_TASK", "x")]).as_deref(), Some("x"));
        assert_eq!(task(&[(ecs.0, "http://169.254.170.2/v4/what-else")]), None);
        let text = "metrics.task = 'y'";
        let settings = load_file(text, sources(&[ecs], &[])).unwrap().settings;
        assert_eq!(settings.metrics.task.as_deref(), Some("y"));
        check_flags(
            &[("metrics.service", "\u{fc}ber")],
            "metrics.service = \"\u{fc}ber\" (flag --set): CloudWatch takes no dimension with \
             other characters than ASCII; use ASCII characters only",
        );
    }

    #[test]
    fn an_open_door_is_warned_about() {
        let loaded = load(&sources(&[], &[("server.listen", "0.0.0.0:8080")])).unwrap();
        assert!(loaded.warnings.concat().contains("authentication is off"));
    }

    #[test]
    fn routes_of_the_file_take_the_place_of_the_defaults() {
        let text = "
            [[route]]
            match = '/app/a.{x}.{y}'
            to = '/user/{y}/queue/{x}'

            [[route]]
            match = '/app/b'
            to = '/topic/b'
            history = true
        ";
        let loaded = load_file(text, Sources::default()).unwrap();
        let expected =
            [("/app/a.{x}.{y}", "/user/{y}/queue/{x}", false), ("/app/b", "/topic/b", true)].map(
                |(pattern, to, history)| RouteSettings {
                    schema: None,
                    pattern: pattern.into(),
                    to: RouteTarget::Destination(to.into()),
                    history,
                },
            );
        assert_eq!(loaded.settings.routes, expected);
        assert_eq!(loaded.warnings, Vec::<String>::new());
        let beside_redis = format!("relay.url = 'redis://a'\n{text}");
        let loaded = load_file(&beside_redis, Sources::default()).unwrap();
        assert!(loaded.warnings.concat().contains("the streams of Redis"));
        let none = load_file("route = []", Sources::default()).unwrap();
        assert_eq!(none.settings.routes, Vec::new());
    }

    #[test]
    fn a_route_leads_to_a_stream_where_a_redis_is_named() {
        let text = "
            relay.url = 'redis://a'
            [[route]]
            match = '/app/orders.**'
            forward = 'ringway:inbound:orders'
        ";
        let loaded = load_file(text, Sources::default()).unwrap();
        let stream = RouteTarget::Stream("ringway:inbound:orders".into());
        assert_eq!(loaded.settings.routes.first().map(|it| &it.to), Some(&stream));
    }

    #[test]
    fn the_schema_of_a_route_is_read_and_compiled() {
        let check = |route: &str, expected: &str| {
            let error = load_file(&format!("[[route]]\n{route}\n"), Sources::default());
            let error = error.unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        };
        check(
            "match = '/app/x'\nto = '/topic/x'\nschema = '/none'",
            "route.schema = \"/none\" (file:4): cannot read it: ",
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("schema.json");
        let route = format!("match = '/app/x'\nto = '/topic/x'\nschema = '{}'", file.display());
        std::fs::write(&file, r#"{"type":"text"}"#).unwrap();
        check(&route, &format!("route.schema = \"{}\" (file:4): at /type: ", file.display()));
        std::fs::write(&file, r#"{"type":"object"}"#).unwrap();
        let loaded = load_file(&format!("[[route]]\n{route}\n"), Sources::default()).unwrap();
        let schema = loaded.settings.routes[0].schema.as_ref().unwrap();
        assert!(schema.schema.check(b"{}").is_ok() && schema.schema.check(b"1").is_err());
    }

    #[test]
    fn wrong_routes_are_refused_with_their_line() {
        let check = |route: &str, expected: &str| {
            let error = load_file(&format!("[[route]]\n{route}\n"), Sources::default());
            let error = error.unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        };
        check("to = '/topic/x'", "route.match (file:1): missing; ");
        check("match = '/app/x'", "route.to (file:1): missing; ");
        check("match = 3\nto = '/topic/x'", "route.match (file:2): not a text; ");
        check(
            "match = '/app/x'\nforward = 'ringway:inbound:x'",
            "route.forward = \"ringway:inbound:x\" (file:1): a stream is kept by Redis, and",
        );
        check(
            "match = '/app/x'\nforward = 'y'",
            "route.forward = \"y\" (file:3): not a key of ours; begin with ringway:",
        );
        for stream in ["ringway:a b", "ringway:{x}", "ringway:revoked", "ringway:history:a"] {
            check(
                &format!("match = '/app/x'\nforward = '{stream}'"),
                &format!("route.forward = \"{stream}\" (file:3): "),
            );
        }
        check(
            "match = '/app/x'\nforward = 'ringway:x'\nto = '/topic/x'",
            "route.forward (file:3): a `to` is given too",
        );
        check(
            "match = '/app/x'\nforward = 'ringway:x'\nhistory = true",
            "route.history (file:3): what is forwarded",
        );
        check("match = '/app/x'\ntoo = 'y'", "route.too (file:3): unknown key; did you mean to?");
        check(
            "match = '/topic/x'\nto = '/topic/x'",
            "route.match = \"/topic/x\" (file:2): not a destination that it can be; begin",
        );
        check("match = '/app/x'\nto = '/app/y'", "route.to = \"/app/y\" (file:3): ");
        check(
            "match = '/app/{a}'\nto = '/topic/{b}'",
            "route.to = \"/topic/{b}\" (file:3): its `match` does not bind {b}; ",
        );
        check(
            "match = '/app/{a}.{a}'\nto = '/topic/x'",
            "route.match = \"/app/{a}.{a}\" (file:2): binds",
        );
        for braces in ["{", "}", "{}", "{a", "a}", "{a{b}}", "{a b}"] {
            check(
                &format!("match = '/app/{braces}'\nto = '/topic/x'"),
                &format!("route.match = \"/app/{braces}\" (file:2): braces"),
            );
        }
        check(
            "match = '/app/x'\nto = '/topic/x'\nhistory = 'yes'",
            "route.history (file:4): not a switch; ",
        );
        check(
            "match = '/app/x'\nto = '/topic/x'\n[[route]]\nmatch = '/app/x'\nto = '/topic/y'",
            "route.match (file:4): file:1 has the same match",
        );
        check_file("route = 3", "route (file:1): not a list of tables; write [[route]]");
    }
}
