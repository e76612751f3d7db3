//! Reads the history for the admin listener: destinations as the routes know them, from the store.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::admin;
use crate::admin::Leaf;
use crate::admin::Start;
use crate::admin::Unread;
use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::refusal::Code;
use crate::broker::router::Router;
use crate::history::Page;
use crate::history::Query;
use crate::server::history::Kept;
use crate::server::reload::Live;

/// The archive that the routes in force and this store make.
pub(super) fn open(live: &Live, kept: &Kept) -> admin::Archive {
    let options = Arc::clone(&live.options);
    let (counters, reader) = (Arc::clone(&kept.counters), kept.reader.clone());
    admin::Archive::new(move |destination, start| {
        let Some(reader) = &reader else {
            return Err(Unread::NoHistory("no message is stored beside this relay".to_owned()));
        };
        let channel = channel_of(&options.load().router, destination)?;
        if counters.up.get() == 0 {
            return Err(Unread::Away);
        }
        let query = match start {
            Start::Last(count) => Query::Last(count),
            Start::Since(epoch, seq) => Query::Since(Place { epoch, seq }),
            Start::After(epoch, seq) => Query::After(Place { epoch, seq }),
        };
        let answer = reader.read(&channel, query).ok_or(Unread::Busy)?;
        Ok(Box::new(move || answer.try_recv().map(|page| page.map(|page| leaf_of(&page)))))
    })
}

/// The channel of a destination that is kept.
fn channel_of(router: &Router, destination: &str) -> Result<String, Unread> {
    let delivery = router.resolve_send(destination).map_err(|refusal| {
        if refusal.code == Code::BadDestination {
            Unread::Malformed(refusal.text)
        } else {
            Unread::Unkept(refusal.text)
        }
    })?;
    if !router.is_stored(&delivery.channel) {
        let text = format!("no route with history = true leads to {destination}");
        return Err(Unread::Unkept(text));
    }
    Ok(delivery.channel)
}

fn leaf_of(page: &Page) -> Leaf {
    let row = |it: &Arc<Publication>| {
        let place = it.place().unwrap_or_default();
        ((place.epoch, place.seq), row_of(it, place))
    };
    Leaf {
        rows: page.records.iter().map(row).collect(),
        bytes: page.records.iter().map(|it| it.body().len()).sum(),
        is_end: page.is_end,
        is_known: page.is_known,
    }
}

fn row_of(publication: &Publication, place: Place) -> Value {
    let mut headers = Map::new();
    for (name, value) in &publication.headers {
        // Of the same name the first counts, as in a frame.
        headers.entry(&**name).or_insert_with(|| Value::from(&**value));
    }
    let mut row = json!({
        "epoch": place.epoch,
        "seq": place.seq,
        "id": publication.message_id,
        "timestamp": publication.timestamp_ms,
        "headers": headers,
    });
    if let Some(user) = &publication.sender {
        row["user"] = (&**user).into();
    }
    if let Some(content_type) = &publication.content_type {
        row["contentType"] = (&**content_type).into();
    }
    if let Ok(text) = std::str::from_utf8(publication.body()) {
        row["body"] = text.into();
    } else {
        row["body"] = STANDARD.encode(publication.body()).into();
        row["encoding"] = "base64".into();
    }
    row
}
