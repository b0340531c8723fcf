//! WATCH: events from a position on, in the form that was asked for, until the client or the clock ends it.

use std::sync::Arc;
use std::time::Duration;

use apiserver_json::{Value, json};
use apiserver_meta::Status;
use apiserver_meta::field::go_quote;
use apiserver_registry::{Page, Registry, Resource, Selectors, needs_settling};
use apiserver_storage::EventKind;
use apiserver_watchcache::{Change, Error as CacheError, Object, Watcher};
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::frames::Frames;
use super::{list_options, protobuf, read, served};
use crate::answer::Answer;
use crate::body::{self, BoxError};
use crate::context::Context;
use crate::limits;
use crate::negotiate::{self, Accepted, Form, Media};
use crate::service::ApiServer;
use crate::streams::{outlet, upgrade};
use crate::table;

/// What a watch was asked to be.
struct Asked {
    resource: Arc<Resource>,
    selectors: Selectors,
    accepted: Accepted,
    include: table::Include,
    bookmarks: bool,
    /// A Table watch sends its columns once.
    columns_sent: bool,
}

/// Opens a watch.
pub(super) async fn watch(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    upgrade: Option<OnUpgrade>,
) -> Result<Answer, Status> {
    let query = context.query;
    negotiate::check_stream(context.accepted)?;
    let options = list_options::read(context, resource)?;
    let from = match options.version {
        "" => None,
        text => Some(read::parse_version(text).map_err(|why| {
            Status::new(500, "", format!("resourceVersion: Invalid value: {}: {why}", go_quote(text)))
        })?),
    };
    let include = if context.accepted.form == Form::Table {
        table::Include::parse(query.text("includeObject"))?
    } else {
        table::Include::default()
    };
    let asked = Asked {
        resource: resource.clone(),
        selectors: options.selectors,
        accepted: context.accepted,
        include,
        bookmarks: query.flag("allowWatchBookmarks"),
        columns_sent: false,
    };
    let server = context.server.clone();
    let cache = server.registry().cache().clone();
    let scope = resource.scope(context.info.scope());
    let timeout = timeout(options.timeout_seconds);
    let ends = Instant::now() + timeout;
    let sends_state = options.initial_events == Some(true);
    let (first, after) = if sends_state {
        let call = context.plain_call(resource);
        let page = Page { at_least: from.filter(|from| *from > 0), ..Page::default() };
        match server.registry().list(&call, &asked.selectors, &page).await {
            Ok(listing) => (listing.objects, listing.revision),
            // A state that is not reached yet is missed within the stream.
            Err(status) if status.code == 504 => {
                let frame = frame(asked.accepted.media, "ERROR", &status.to_json());
                return Ok(sent(context, upgrade, ends, futures::stream::iter([Ok(frame)])));
            }
            Err(status) => return Err(read::unconverted(resource, status)),
        }
    } else {
        let after = from.filter(|from| *from > 0).unwrap_or_else(|| cache.revision());
        let since = resource.custom.as_ref().map_or(0, |custom| custom.since);
        if after < since && from.is_some() {
            let error = CacheError::Expired { asked: after, oldest: since };
            let frame = expired_frame(asked.accepted.media, &error);
            return Ok(sent(context, upgrade, ends, futures::stream::iter([Ok(frame)])));
        }
        (Vec::new(), after)
    };
    let watcher = cache.watch(&scope, after);
    Ok(sent(context, upgrade, ends, events(server, asked, first, sends_state, watcher, timeout, after)))
}

/// A stream of whole events as the client takes them: as a body, or as messages.
fn sent(
    context: &Context<'_>,
    connection: Option<OnUpgrade>,
    ends: Instant,
    stream: impl futures::Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
) -> Answer {
    let media = context.accepted.media;
    if !upgrade::wants_websocket(context.headers) {
        let mut answer = Answer::of(StatusCode::OK, media.stream_type(), Bytes::new());
        answer.body = body::stream(stream);
        return answer;
    }
    let switched =
        upgrade::to_page(context.headers).and_then(|answer| Ok((answer, upgrade::taken(connection)?)));
    match switched {
        Ok((answer, connection)) => {
            let messages = stream.map(move |chunk| {
                chunk.map(|chunk| match media {
                    Media::Protobuf => outlet::frames(chunk),
                    Media::Json | Media::Yaml => outlet::lines(&chunk),
                })
            });
            upgrade::run(connection, move |io| outlet::serve(io, messages, Some(ends)));
            answer
        }
        Err(refusal) => *refusal,
    }
}

/// How long a watch lasts: what Go counts in 64 bits of nanoseconds, whatever it was given. Less than nothing is no time.
fn timeout(seconds: Option<i64>) -> Duration {
    match seconds.unwrap_or(0).wrapping_mul(1_000_000_000) {
        0 => limits::WATCH_TIMEOUT_MIN.mul_f64(1.0 + rand::random::<f64>()),
        nanoseconds => Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)),
    }
}

/// When a watch gets its first bookmark: one with a deadline shortly before that, and none that is as short.
fn first_bookmark(timeout: Duration) -> Duration {
    match timeout.saturating_sub(limits::BOOKMARK_BEFORE_END) {
        Duration::ZERO => limits::BOOKMARK_INTERVAL,
        before_end => limits::BOOKMARK_INTERVAL.min(before_end),
    }
}

/// State of a running watch.
struct Running {
    server: ApiServer,
    asked: Asked,
    watcher: Option<Watcher>,
    /// Objects of the state that are still to be sent.
    first: std::vec::IntoIter<Arc<Object>>,
    /// The bookmark that ends the state is still to be sent.
    ends_state: bool,
    /// What has happened and is still to be sent.
    frames: Frames,
    state_revision: u64,
    deadline: Instant,
    next_bookmark: Instant,
    bookmarked: u64,
    expired: Option<CacheError>,
    done: bool,
}

fn events(
    server: ApiServer,
    asked: Asked,
    first: Vec<Arc<Object>>,
    ends_state: bool,
    watcher: Result<Watcher, CacheError>,
    timeout: Duration,
    revision: u64,
) -> impl futures::Stream<Item = Result<Bytes, BoxError>> + Send {
    let (watcher, expired) = match watcher {
        Ok(watcher) => (Some(watcher), None),
        Err(error) => (None, Some(error)),
    };
    let now = Instant::now();
    let running = Running {
        server,
        asked,
        watcher,
        first: first.into_iter(),
        ends_state,
        frames: Frames::default(),
        state_revision: revision,
        deadline: now + timeout,
        next_bookmark: now + first_bookmark(timeout),
        bookmarked: 0,
        expired,
        done: timeout.is_zero(),
    };
    futures::stream::unfold(running, |mut running| async move {
        let chunk = running.next_chunk().await?;
        Some((Ok(chunk), running))
    })
}

impl Running {
    async fn next_chunk(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        if let Some(chunk) = self.state_chunk().or_else(|| self.frames.chunk()) {
            return Some(chunk);
        }
        if let Some(error) = self.expired.take() {
            self.done = true;
            return Some(expired_frame(self.asked.accepted.media, &error));
        }
        let mut shutdown = self.server.inner.shutdown.subscribe();
        let is_custom = self.asked.resource.is_custom();
        let mut reloads = self.server.registry().reloads();
        loop {
            // Also where there is always something to tell.
            if Instant::now() >= self.deadline {
                return None;
            }
            let watcher = self.watcher.as_mut()?;
            let batch = match watcher.now() {
                Ok(batch) => batch,
                Err(error) => {
                    self.done = true;
                    return Some(expired_frame(self.asked.accepted.media, &error));
                }
            };
            let changes = tokio::select! {
                changes = converted(self.server.registry(), &self.asked, batch.changes) => changes,
                _ = shutdown.changed() => return None,
            };
            let changes = match changes {
                Ok(changes) => changes,
                Err(status) => {
                    self.done = true;
                    let status = Status::internal(status.message);
                    return Some(frame(self.asked.accepted.media, "ERROR", &status.to_json()));
                }
            };
            for change in &changes {
                let frame = self.frame(change);
                self.frames.extend(frame);
            }
            if let Some(chunk) = self.frames.chunk() {
                return Some(chunk);
            }
            // Another definition has other objects: who watched those of the old one begins anew.
            if *shutdown.borrow() || !self.server.registry().is_current(&self.asked.resource) {
                return None;
            }
            let watcher = self.watcher.as_mut()?;
            tokio::select! {
                () = watcher.changed() => {}
                () = tokio::time::sleep_until(self.deadline) => return None,
                () = tokio::time::sleep_until(self.next_bookmark), if self.asked.bookmarks => {
                    self.next_bookmark += limits::BOOKMARK_INTERVAL;
                    if batch.revision > self.bookmarked {
                        self.bookmarked = batch.revision;
                        return Some(self.bookmark(batch.revision, false));
                    }
                }
                _ = shutdown.changed() => return None,
                _ = reloads.changed(), if is_custom => {}
            }
        }
    }

    /// Some of the state a watch begins with; `None` once it is all sent.
    fn state_chunk(&mut self) -> Option<Bytes> {
        let mut buffer = BytesMut::new();
        while buffer.len() < limits::WATCH_CHUNK_BYTES {
            let Some(object) = self.first.next() else { break };
            let frame = self.render("ADDED", EventKind::Created, &object, None);
            buffer.put_slice(&frame);
        }
        if self.first.len() == 0 && self.ends_state {
            self.ends_state = false;
            if self.asked.bookmarks {
                self.bookmarked = self.state_revision;
                let frame = self.bookmark(self.state_revision, true);
                buffer.put_slice(&frame);
            }
        }
        (!buffer.is_empty()).then(|| buffer.freeze())
    }

    /// The frame of a change, where the client is to see it. An object that leaves the selection is DELETED.
    fn frame(&mut self, change: &Change) -> Option<Bytes> {
        let (resource, selectors) = (&self.asked.resource, &self.asked.selectors);
        let everything = selectors.is_everything();
        let now =
            change.kind != EventKind::Deleted && (everything || selectors.select(resource, &change.object));
        let before = change
            .previous
            .as_ref()
            .is_some_and(|previous| everything || selectors.select(resource, previous));
        match (before, now) {
            (false, true) => Some(self.render("ADDED", EventKind::Created, &change.object, None)),
            (true, true) => Some(self.render("MODIFIED", EventKind::Updated, &change.object, None)),
            (true, false) if change.kind == EventKind::Deleted => {
                Some(self.render("DELETED", EventKind::Deleted, &change.object, None))
            }
            // The client knows the object as it was; the event carries the revision it left at.
            (true, false) => {
                let previous = change.previous.clone()?;
                Some(self.render("DELETED", EventKind::Deleted, &previous, Some(change.revision)))
            }
            (false, false) => None,
        }
    }

    fn render(&mut self, kind: &str, event: EventKind, object: &Object, revision: Option<u64>) -> Bytes {
        let resource = &self.asked.resource;
        let Accepted { media, form, .. } = self.asked.accepted;
        if media != Media::Protobuf && revision.is_none() {
            let as_stored = resource.is_stored_as_served() && !resource.is_custom();
            match form {
                Form::Object if as_stored => return object.frame(event),
                Form::Partial | Form::PartialList if !self.asked.accepted.beta => {
                    return partial_frame(kind, object.metadata());
                }
                _ => {}
            }
        }
        let mut value = match media {
            Media::Protobuf => protobuf::tree(resource, object.bytes(), Form::Object),
            Media::Json | Media::Yaml if form == Form::Table => object.parse(),
            Media::Json | Media::Yaml => served(resource, object.parse()),
        };
        if let Some(revision) = revision {
            apiserver_registry::object::metadata_mut(&mut value)
                .insert("resourceVersion".into(), revision.to_string().into());
        }
        let shown = self.shown(value);
        frame(media, kind, &shown)
    }

    fn shown(&mut self, value: Value) -> Value {
        let shown = self.transformed(value);
        if self.asked.accepted.beta { table::beta(&shown) } else { shown }
    }

    fn transformed(&mut self, value: Value) -> Value {
        match self.asked.accepted.form {
            Form::Object | Form::Aggregated => value,
            Form::Partial | Form::PartialList => table::partial(&value),
            Form::Table => {
                let revision = apiserver_registry::object::text(&value, "resourceVersion").to_owned();
                let rows = vec![table::row(&self.asked.resource, value, self.asked.include)];
                let with_columns = !std::mem::replace(&mut self.asked.columns_sent, true);
                table::table(&self.asked.resource, rows, &revision, with_columns)
            }
        }
    }

    fn bookmark(&mut self, revision: u64, ends_state: bool) -> Bytes {
        let resource = &self.asked.resource;
        let mut object = json!({
            "kind": resource.kind,
            "apiVersion": resource.api_version(),
            "metadata": {"resourceVersion": revision.to_string()},
        });
        if ends_state {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        if let Some(schema) = resource.schema().filter(|_| !resource.is_custom()) {
            // A bookmark is an empty object of the kind: Go prints its always-written members.
            let _unknown = apiserver_schema::decode(&schema, &mut object, apiserver_schema::Decode::Json);
        }
        let shown = self.shown(object);
        frame(self.asked.accepted.media, "BOOKMARK", &shown)
    }
}

/// Changes as a client of this version sees them, where a webhook converts.
async fn converted(
    registry: &Registry,
    asked: &Asked,
    changes: Vec<Arc<Change>>,
) -> Result<Vec<Arc<Change>>, Status> {
    let resource = &asked.resource;
    let is_otherwise = |change: &Arc<Change>| {
        let previous = change.previous.as_ref();
        needs_settling(resource, &change.object)
            || previous.is_some_and(|previous| needs_settling(resource, previous))
    };
    if !resource.asks_to_convert() && !changes.iter().any(is_otherwise) {
        return Ok(changes);
    }
    // What was there before only decides what is selected.
    let selects = !asked.selectors.is_everything();
    let before = |change: &Arc<Change>| change.previous.clone().filter(|_| selects);
    let objects =
        changes.iter().flat_map(|change| std::iter::once(change.object.clone()).chain(before(change)));
    let mut objects = registry.served_objects(resource, objects.collect()).await?.into_iter();
    let changes = changes.iter().map(|change| {
        let object = objects.next().unwrap_or_else(|| change.object.clone());
        let previous = match before(change) {
            Some(_) => objects.next(),
            None => change.previous.clone(),
        };
        Arc::new(Change { revision: change.revision, kind: change.kind, object, previous })
    });
    Ok(changes.collect())
}

/// An event as it is sent.
fn frame(media: Media, kind: &str, object: &Value) -> Bytes {
    match media {
        Media::Protobuf => protobuf::event(kind, object),
        Media::Json | Media::Yaml => Bytes::from(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")),
    }
}

/// The event of an object of which only the metadata is asked for: its bytes are sent as they are stored.
fn partial_frame(kind: &str, metadata: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(metadata.len() + 128);
    frame.put_slice(b"{\"type\":\"");
    frame.put_slice(kind.as_bytes());
    frame.put_slice(b"\",\"object\":");
    table::put_partial(&mut frame, metadata);
    frame.put_slice(b"}\n");
    frame.freeze()
}

fn expired_frame(media: Media, error: &CacheError) -> Bytes {
    let status = match error {
        CacheError::Expired { asked, oldest } => Status::too_old(*asked, *oldest),
        CacheError::Future { asked, current } => Status::too_old(*asked, *current),
    };
    frame(media, "ERROR", &status.to_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_lasts_as_long_as_go_makes_of_its_seconds() {
        for (seconds, want) in [
            (1, Duration::from_secs(1)),
            (9_223_372_036, Duration::from_secs(9_223_372_036)),
            (-1, Duration::ZERO),
            (9_999_999_999, Duration::ZERO),
            (i64::MAX, Duration::ZERO),
            (i64::MIN + 20_000_000_000, Duration::from_nanos(1_553_255_926_290_448_384)),
        ] {
            assert_eq!(timeout(Some(seconds)), want, "{seconds}");
        }
        for (timeout, want) in [(1, 60), (2, 60), (3, 1), (30, 28), (62, 60), (1800, 60)] {
            assert_eq!(first_bookmark(Duration::from_secs(timeout)), Duration::from_secs(want), "{timeout}");
        }
        for seconds in [None, Some(0)] {
            let drawn = timeout(seconds);
            assert!(
                drawn >= limits::WATCH_TIMEOUT_MIN && drawn <= 2 * limits::WATCH_TIMEOUT_MIN,
                "{drawn:?}"
            );
        }
    }
}
