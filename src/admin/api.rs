//! The API: what is asked of the process and of its shards. `openapi.json` tells it to machines; a
//! test holds the two together.

use std::sync::mpsc;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::OriginalUri;
use axum::extract::State;
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::MethodRouter;
use axum::routing::get;
use axum::routing::post;
use serde_json::Value;
use serde_json::json;

use crate::admin::Order;
use crate::admin::Said;
use crate::admin::View;
use crate::admin::archive;
use crate::admin::extract::Document;
use crate::admin::extract::Id;
use crate::admin::extract::Nothing;
use crate::admin::extract::bad;
use crate::admin::guard;
use crate::admin::guard::Failure;
use crate::shard::Answer;
use crate::shard::Message;
use crate::shard::Question;
use crate::shard::user_destination;

/// Largest body of a request.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Most messages in one body.
const MESSAGES_MAX: usize = 10_000;
/// Rows of a list, unless asked for more, and most of them.
const ROWS: usize = 100;
const ROWS_MAX: usize = 1_000;
/// How often an answer is looked for, and how long.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
pub(super) const LOOKS_MAX: u32 = 1_000;
/// The same where Redis is asked: longer than a message waits for one that is away, by default, and
/// less than a connection may last.
const RELAY_LOOKS_MAX: u32 = 6_000;

pub(super) type Outcome = Result<Response, Failure>;

pub(super) fn routes(view: &View) -> Router<View> {
    Router::new()
        .route("/api/openapi.json", get(openapi))
        .route("/api/connections", get(connections))
        .route("/api/connections/{id}/disconnect", json_post(disconnect))
        .route("/api/destinations", get(destinations))
        .route("/api/users/{id}", get(user))
        .route("/api/users/{id}/disconnect", json_post(disconnect_user))
        .route("/api/users/{id}/publish", json_post(publish_to_user))
        .route("/api/history/{*destination}", get(archive::history))
        .route("/api/tokens/revoke", json_post(revoke))
        .route("/api/publish", json_post(publish))
        .route("/api/publish/batch", json_post(publish_batch))
        .route("/api/drain", json_post(drain))
        .route("/api/rebalance", json_post(rebalance))
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(view.clone(), guard::guard))
}

/// A handler of what changes something.
fn json_post<H: Handler<T, View>, T: 'static>(handler: H) -> MethodRouter<View> {
    post(handler).route_layer(middleware::from_fn(guard::json_only))
}

async fn wrong_method() -> Failure {
    let text = "this path is not for that method; see /api/openapi.json";
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method", text)
}

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

async fn connections(State(view): State<View>, OriginalUri(uri): OriginalUri) -> Outcome {
    let rows_max = limit_of(uri.query())?;
    list_connections(&view, None, rows_max).await
}

async fn user(State(view): State<View>, Id(id): Id, OriginalUri(uri): OriginalUri) -> Outcome {
    let rows_max = limit_of(uri.query())?;
    list_connections(&view, Some(id), rows_max).await
}

async fn list_connections(view: &View, user: Option<String>, rows_max: usize) -> Outcome {
    let question = Question::Connections { user: user.clone(), rows_max };
    let answers = ask_all(view, &question).await?;
    let count: u64 = answers.iter().map(|it| it.count).sum();
    let rows: Vec<Value> = answers.into_iter().flat_map(|it| it.rows).take(rows_max).collect();
    let mut document = json!({ "count": count, "connections": rows });
    if let Some(user) = user {
        document["user"] = user.into();
    }
    Ok(done(&document))
}

async fn destinations(State(view): State<View>, OriginalUri(uri): OriginalUri) -> Outcome {
    let rows_max = limit_of(uri.query())?;
    let answers = ask_all(&view, &Question::Destinations { rows_max: ROWS_MAX }).await?;
    let everywhere: u64 = answers.iter().map(|it| it.count).sum();
    let has_all = answers.iter().all(|it| it.count == it.rows.len() as u64);
    let (count, rows) = merged(answers, rows_max);
    let count = if has_all { count as u64 } else { everywhere };
    Ok(done(&json!({ "count": count, "destinations": rows })))
}

async fn disconnect(State(view): State<View>, Id(id): Id, _: Nothing) -> Outcome {
    let unknown = || {
        let text = format!("no connection {id} is open here");
        Failure::new(StatusCode::NOT_FOUND, "not-found", text)
    };
    let (shard, bits) = id.split_once('-').ok_or_else(unknown)?;
    let shard: usize = shard.parse().map_err(|_| unknown())?;
    let bits = u64::from_str_radix(bits, 16).map_err(|_| unknown())?;
    if view.asks.shards_count() <= shard {
        return Err(unknown());
    }
    let answer = prompt_answer_of(view.asks.ask(shard, Question::Disconnect(bits))).await?;
    if answer.count == 0 {
        return Err(unknown());
    }
    Ok(done(&json!({ "disconnected": answer.count })))
}

async fn disconnect_user(State(view): State<View>, Id(id): Id, _: Nothing) -> Outcome {
    say(&view, Order::Disconnect(id)).await
}

async fn revoke(State(view): State<View>, Document(document): Document) -> Outcome {
    let text = |name: &str| match document.get(name) {
        None => Ok(None),
        Some(value) => {
            let text = value.as_str().filter(|it| !it.is_empty()).map(str::to_owned);
            text.map(Some).ok_or_else(|| bad(format!("{name} is no text, or an empty one")))
        }
    };
    let until = document.get("untilMs").filter(|it| !it.is_null());
    let until_ms = until.map(|it| whole_number(it).ok_or_else(|| bad("untilMs is no time")));
    let until_ms = until_ms.transpose()?;
    let order = match (text("jti")?, text("user")?) {
        (Some(id), None) => Order::RevokeToken { id, until_ms },
        (None, Some(id)) => Order::RevokeUser { id, until_ms },
        (None, None) | (Some(_), Some(_)) => return Err(bad("name a jti or a user, and not both")),
    };
    say(&view, order).await
}

/// A number without a fraction, however it is written, as far as a double has all of them.
fn whole_number(value: &Value) -> Option<u64> {
    const MAX: f64 = 9_007_199_254_740_991.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    let whole = |it: f64| (it.fract() == 0.0 && (0.0..=MAX).contains(&it)).then_some(it as u64);
    value.as_f64().and_then(whole)
}

async fn say(view: &View, order: Order) -> Outcome {
    let (answer, answers) = mpsc::channel::<Said>();
    (view.operator.0)(order, Box::new(move |said| drop(answer.send(said))));
    let text = "Redis has not answered in time; whether it is done is not known";
    let late = || Failure::new(StatusCode::SERVICE_UNAVAILABLE, "relay", text);
    match wait_for(answers, RELAY_LOOKS_MAX).await.ok().flatten().ok_or_else(late)? {
        Ok(is_fleet) => {
            let reach = if is_fleet { "fleet" } else { "process" };
            Ok((StatusCode::ACCEPTED, done(&json!({ "reach": reach }))).into_response())
        }
        Err(why) => Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "relay", why)),
    }
}

async fn publish(State(view): State<View>, Document(document): Document) -> Outcome {
    let message = message_of(&document, None)?;
    publish_all(&view, vec![message]).await
}

async fn publish_to_user(
    State(view): State<View>,
    Id(id): Id,
    Document(document): Document,
) -> Outcome {
    let message = message_of(&document, Some(&id))?;
    publish_all(&view, vec![message]).await
}

async fn publish_batch(State(view): State<View>, Document(document): Document) -> Outcome {
    let Some(list) = document["messages"].as_array() else {
        return Err(bad("messages is missing, or no list"));
    };
    if list.is_empty() || MESSAGES_MAX < list.len() {
        return Err(bad(format!("messages holds {}, not 1 to {MESSAGES_MAX}", list.len())));
    }
    let messages = list.iter().map(|it| message_of(it, None)).collect::<Result<_, _>>()?;
    publish_all(&view, messages).await
}

/// Gives messages to the relay through one shard, so that they stay in order, and waits for its
/// answer to each.
async fn publish_all(view: &View, messages: Vec<Message>) -> Outcome {
    let total = messages.len();
    let asked = view.asks.ask(0, Question::Publish(messages.into()));
    let text = "the relay has not answered in time; whether it is published is not known";
    let late = || Failure::new(StatusCode::SERVICE_UNAVAILABLE, "relay-unknown", text);
    let answer = answer_of(asked, RELAY_LOOKS_MAX).await?.ok_or_else(late)?;
    let Some(failure) = answer.failure else {
        return Ok(done(&json!({ "published": answer.count, "ids": answer.rows })));
    };
    let status = match failure.is_ours {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let (number, count, text) = (failure.at + 1, answer.count, failure.text);
    let text = match total {
        1 => text,
        _ => format!("message {number} of {total}: {text}; {count} are published"),
    };
    let failure = Failure::new(status, failure.code, text);
    Err(failure.with("published", count.into()).with("ids", answer.rows.into()))
}

async fn drain(State(view): State<View>, _: Nothing) -> Outcome {
    tracing::info!("told over the admin listener to drain");
    view.health.drain();
    Ok((StatusCode::ACCEPTED, done(&json!({ "draining": true }))).into_response())
}

async fn rebalance(State(view): State<View>, Document(document): Document) -> Outcome {
    let share = document["share"].as_f64().filter(|it| 0.0 < *it && *it <= 1.0);
    let share = share.ok_or_else(|| bad("share is missing, or not above 0 and up to 1"))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000,000")]
    let share_ppm = (share * 1e6).ceil() as u32;
    let answers = ask_all(&view, &Question::Rebalance { share_ppm }).await?;
    let count: u64 = answers.iter().map(|it| it.count).sum();
    Ok((StatusCode::ACCEPTED, done(&json!({ "leaving": count }))).into_response())
}

async fn ask_all(view: &View, question: &Question) -> Result<Vec<Answer>, Failure> {
    let asked = (0..view.asks.shards_count()).map(|it| view.asks.ask(it, question.clone()));
    let asked: Vec<_> = asked.collect();
    let mut answers = Vec::with_capacity(asked.len());
    for answer in asked {
        answers.push(prompt_answer_of(answer).await?);
    }
    Ok(answers)
}

/// The answer of a core that needs nobody else for it.
async fn prompt_answer_of(answer: mpsc::Receiver<Answer>) -> Result<Answer, Failure> {
    let text = "a core does not answer in time; it may be done later";
    let late = || Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text);
    answer_of(answer, LOOKS_MAX).await?.ok_or_else(late)
}

/// The answer of a core; `None` when it does not come in time.
async fn answer_of(
    answer: mpsc::Receiver<Answer>,
    looks_max: u32,
) -> Result<Option<Answer>, Failure> {
    let text = "a core takes no questions now; try again";
    let gone = || Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text);
    wait_for(answer, looks_max).await.map_err(|Gone| gone())
}

/// An answer that never comes.
pub(super) struct Gone;

/// Looks for an answer now and then: nobody outside is woken by one.
async fn wait_for<T>(answer: mpsc::Receiver<T>, looks_max: u32) -> Result<Option<T>, Gone> {
    wait_until(move || answer.try_recv(), looks_max).await
}

/// The same, where `look` does it.
pub(super) async fn wait_until<T>(
    look: impl Fn() -> Result<T, TryRecvError>,
    looks_max: u32,
) -> Result<Option<T>, Gone> {
    for _ in 0..looks_max {
        match look() {
            Ok(answer) => return Ok(Some(answer)),
            Err(TryRecvError::Disconnected) => return Err(Gone),
            Err(TryRecvError::Empty) => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    }
    Ok(None)
}

/// The rows of all cores as one list, those of one destination as one row, most subscribed first.
fn merged(answers: Vec<Answer>, rows_max: usize) -> (usize, Vec<Value>) {
    let mut all = std::collections::BTreeMap::new();
    for row in answers.into_iter().flat_map(|it| it.rows) {
        let name = row["destination"].as_str().unwrap_or("").to_owned();
        let is_pattern = row["pattern"].as_bool().unwrap_or(false);
        *all.entry((name, is_pattern)).or_insert(0) += row["subscriptions"].as_u64().unwrap_or(0);
    }
    let count = all.len();
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|it| std::cmp::Reverse(it.1));
    let rows = all.into_iter().take(rows_max).map(|((name, is_pattern), count)| {
        json!({ "destination": name, "pattern": is_pattern, "subscriptions": count })
    });
    (count, rows.collect())
}

fn message_of(value: &Value, user: Option<&str>) -> Result<Message, Failure> {
    let Some(object) = value.as_object() else {
        return Err(bad("a message is an object"));
    };
    let text = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad(format!("{name} is no text"))),
    };
    let destination = text("destination")?.ok_or_else(|| bad("destination is missing"))?;
    let destination = match user {
        None => destination,
        Some(user) if destination.starts_with("/queue/") => user_destination(user, &destination),
        Some(_) => return Err(bad("what is for a user goes to a destination below /queue/")),
    };
    let headers = match object.get("headers") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(headers)) => headers
            .iter()
            .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect::<Option<_>>()
            .ok_or_else(|| bad("the values of headers are texts"))?,
        Some(_) => return Err(bad("headers is no object")),
    };
    let body = text("body")?.ok_or_else(|| bad("body is missing"))?;
    Ok(Message { destination, content_type: text("contentType")?, headers, body })
}

/// The first value of this name in a query, as it stands there.
pub(super) fn parameter<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    let mut pairs = query?.split('&').filter_map(|it| it.split_once('='));
    pairs.find_map(|(it, value)| (it == name).then_some(value))
}

/// `limit` of a query.
pub(super) fn limit_of(query: Option<&str>) -> Result<usize, Failure> {
    let Some(text) = parameter(query, "limit") else { return Ok(ROWS) };
    let limit = text.parse().ok().filter(|it| (1..=ROWS_MAX).contains(it));
    limit.ok_or_else(|| bad(format!("limit is not 1 to {ROWS_MAX}")))
}

pub(super) fn done(document: &Value) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (headers, document.to_string()).into_response()
}
