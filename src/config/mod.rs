//! Every setting of the server, once.
//!
//! For: turning a TOML file, the environment and flags into one plain [`Settings`], or into one
//! line that says what is wrong, where it came from and what to do about it. The table in
//! [`catalogue`] drives parsing, bounds, help, `config print` and the table in the README.
//!
//! Must never know: what a setting does. Behaviour belongs to the layer that is given the value;
//! only the values that depend on the host are worked out here ([`resolve`]), as pure functions.
//!
//! Read in this order: [`settings`] (the result), [`catalogue`] (the table), `knob` (its types),
//! `load` (the order of precedence), then `file`, `environment`, `route`.
#![forbid(unsafe_code)]

mod auth;
pub mod catalogue;
mod environment;
mod error;
mod file;
mod history;
pub mod history_url;
mod host;
mod knob;
mod load;
mod print;
pub mod redis_url;
mod relay;
mod reload;
mod resolve;
mod route;
mod rule;
pub mod settings;
mod source;
mod suggest;
mod tls;
mod urls;
mod value;

pub use error::ConfigError;
pub use history_url::HistoryUrl;
pub use host::Host;
pub use knob::Kind;
pub use knob::Knob;
pub use load::Entry;
pub use load::Loaded;
pub use load::load;
pub use print::print;
pub use redis_url::RedisUrl;
pub use reload::Change;
pub use reload::Reloaded;
pub use reload::reload;
pub use resolve::Resolved;
pub use resolve::resolve;
pub use settings::Settings;
pub use source::Flag;
pub use source::Origin;
pub use source::Sources;
pub use value::Value;
