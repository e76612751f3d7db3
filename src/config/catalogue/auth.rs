//! `auth.*`: the rows of authentication.

use crate::config::catalogue::HOUR;
use crate::config::catalogue::KIB;
use crate::config::catalogue::bytes;
use crate::config::catalogue::choice;
use crate::config::catalogue::count;
use crate::config::catalogue::knob;
use crate::config::catalogue::time;
use crate::config::knob::Kind;
use crate::config::knob::Knob;

pub(super) const AUTH: &[Knob] = &[
    knob(
        "auth.mode",
        choice(&["auto", "jwt", "off"]),
        "auto",
        "How users prove who they are: `jwt` asks for a token, `off` believes the CONNECT `login`; \
         `auto` is `jwt` as soon as there is a key.",
    ),
    Knob {
        live: true,
        ..knob(
            "auth.origins",
            Kind::Origins,
            "",
            "Origins whose pages may connect; none means the same origin only.",
        )
    },
    knob(
        "auth.sources",
        Kind::Words { names: SOURCES },
        "authorization,token,passcode,http,subprotocol",
        "Where a token may stand: the CONNECT headers `authorization`, `token` and `passcode`, \
         `http` for the upgrade's `Authorization`, `subprotocol` for an entry `bearer.<token>`.",
    ),
    knob(
        "auth.cookie",
        TEXT,
        "none",
        "The cookie of the upgrade in which a token may stand as well.",
    ),
    knob(
        "auth.query",
        TEXT,
        "none",
        "The query parameter of the upgrade in which a token may stand as well; proxies write it \
         to their logs, this server does not.",
    ),
    knob(
        "auth.cookie_any_origin",
        Kind::Switch,
        "false",
        "Let pages of all origins connect with the cookie of a user: only beside `auth.cookie` and \
         `auth.origins = \"*\"`, which it confirms.",
    ),
    Knob {
        secret: true,
        ..knob(
            "auth.jwt.secret",
            Kind::Text { chars_min: 32, chars_max: 4096 },
            "none",
            "The secret of HS256 tokens, and from 48 and 64 bytes on of HS384 and HS512; also \
             `JWT_SECRET`.",
        )
    },
    knob(
        "auth.jwt.keys",
        Kind::Path,
        "none",
        "A file of keys, as a JWK set or as public keys in PEM; read again when it changes.",
    ),
    knob(
        "auth.jwt.jwks_url",
        Kind::Text { chars_min: 8, chars_max: 2048 },
        "none",
        "Where a JWK set is fetched, over `https://`, or `http://` within the host's own network.",
    ),
    knob(
        "auth.jwt.jwks_ca",
        Kind::Path,
        "none",
        "PEM file with the authorities that sign the certificate of `auth.jwt.jwks_url`; none \
         means those that browsers trust.",
    ),
    knob(
        "auth.jwt.jwks_refresh",
        time(1000, 24 * HOUR),
        "5m",
        "How often the JWK set is fetched; the last one stays in force while that fails.",
    ),
    knob(
        "auth.jwt.jwks_cooldown",
        time(100, HOUR),
        "10s",
        "How soon it is fetched again when a token names a key that is not in it.",
    ),
    knob("auth.jwt.issuer", LIST, "", "Who may have issued a token (`iss`); none means anybody."),
    knob(
        "auth.jwt.audience",
        LIST,
        "",
        "For whom a token may be (`aud`), one of these; none means that it is not looked at.",
    ),
    knob("auth.jwt.user_claim", CLAIM, "sub", "The claim that holds the user's id."),
    knob(
        "auth.jwt.roles_claim",
        CLAIM,
        "roles",
        "The claim that holds the user's roles: a list, or a text with spaces between.",
    ),
    knob("auth.jwt.required_claims", LIST, "exp", "Claims without which a token is refused."),
    knob("auth.jwt.leeway", time(0, HOUR), "10s", "How far the issuer's clock may be from ours."),
    knob("auth.jwt.token_bytes", bytes(256, 64 * KIB), "8KiB", "Size of a token."),
    knob(
        "auth.jwt.remembered",
        count(2, 1 << 20),
        "32768",
        "Tokens that each core remembers to have accepted, and as many that it has refused; they \
         cost no cryptography again.",
    ),
    knob(
        "auth.jwt.renewal_notice",
        time(0, HOUR),
        "60s",
        "How long before its token ends a session is told on `/user/queue/_session`; half of the \
         token's life where that is shorter than twice it.",
    ),
];

/// The words of `auth.sources`.
const SOURCES: &[&str] = &["authorization", "token", "passcode", "http", "subprotocol"];

const TEXT: Kind = Kind::Text { chars_min: 1, chars_max: 256 };
const CLAIM: Kind = Kind::Text { chars_min: 1, chars_max: 256 };
const LIST: Kind = Kind::Words { names: &[] };
