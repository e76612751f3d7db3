//! Values that are URLs of what a server needs around it.

use crate::config::history_url::HistoryUrl;
use crate::config::knob::Kind;
use crate::config::knob::Problem;
use crate::config::knob::problem;
use crate::config::redis_url::RedisUrl;
use crate::config::value::Value;

const REDIS_URLS_COUNT_MAX: usize = 16;

impl Kind {
    pub(super) fn history_url(self, text: &str) -> Result<Value, Problem> {
        let parsed = HistoryUrl::parse(text).map(Value::HistoryUrl);
        parsed.or_else(|wrong| problem(wrong, self.remedy()))
    }

    pub(super) fn redis_urls(self, text: &str) -> Result<Value, Problem> {
        let texts: Vec<_> = text.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
        if REDIS_URLS_COUNT_MAX < texts.len() {
            return problem(format!("{} URLs", texts.len()), self.remedy());
        }
        if texts.is_empty() {
            return problem("no URL", self.remedy());
        }
        let parsed: Result<Vec<_>, _> = texts.into_iter().map(RedisUrl::parse).collect();
        parsed.map(Value::RedisUrls).or_else(|wrong| problem(wrong, self.remedy()))
    }
}
