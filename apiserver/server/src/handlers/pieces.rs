//! Large lists in gzip, from pieces that are kept: what did not change since it was listed is not compressed again.
//!
//! Where a piece begins is said by the names of objects, not by their number: a list with one object more differs
//! from the one before in one piece.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apiserver_registry::Resource;
use apiserver_storage::{Key, Revision};
use apiserver_watchcache::Object;
use bytes::{Bytes, BytesMut};

use super::items::Items;
use crate::body::BoxError;
use crate::compress::{Checksum, GZIP_HEAD, Piece};
use crate::limits;

/// Which piece: how its items are written, its first object, and whether the list begins with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    form: Arc<str>,
    first: Key,
    leads: bool,
}

/// Exactly these versions of these objects: a revision may be that of several.
type Versions = Box<[(Revision, u64)]>;

#[derive(Default)]
struct Kept {
    pieces: HashMap<Place, (Versions, Arc<Piece>)>,
    /// The oldest first.
    order: VecDeque<Place>,
    bytes: usize,
}

/// Pieces of lists; bounded.
#[derive(Default)]
pub(crate) struct Pieces(Mutex<Kept>);

impl Pieces {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, place: &Place, versions: &Versions) -> Option<Arc<Piece>> {
        let kept = self.lock();
        kept.pieces.get(place).filter(|(of, _)| of == versions).map(|(_, piece)| piece.clone())
    }

    fn keep(&self, place: Place, versions: Versions, piece: Arc<Piece>) {
        let mut kept = self.lock();
        kept.bytes += cost(&versions, &piece);
        match kept.pieces.insert(place.clone(), (versions, piece)) {
            Some((versions, piece)) => kept.bytes -= cost(&versions, &piece),
            None => kept.order.push_back(place),
        }
        while kept.bytes > limits::LIST_PIECES_BYTES_MAX {
            let Some(oldest) = kept.order.pop_front() else { break };
            if let Some((versions, piece)) = kept.pieces.remove(&oldest) {
                kept.bytes -= cost(&versions, &piece);
            }
        }
    }
}

fn cost(versions: &Versions, piece: &Piece) -> usize {
    size_of_val(&**versions) + piece.deflated.len() + 256
}

fn hash_of(key: &Key) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}

/// The bodies of a list in gzip, one after the other: `head`, the objects, `tail`.
pub(super) fn gzip(
    kept: Arc<Pieces>,
    resource: Arc<Resource>,
    head: String,
    objects: Vec<Arc<Object>>,
    tail: &'static [u8],
) -> impl Iterator<Item = Result<Bytes, BoxError>> + Send {
    let form: Arc<str> = format!("{} {}", resource.prefix, resource.api_version()).into();
    let items = Items::of(&resource);
    let mut checksum = Checksum::default();
    let mut at = 0;
    let mut state = State::Head;
    std::iter::from_fn(move || {
        let begins = matches!(state, State::Head);
        let piece = match state {
            State::Head => {
                state = State::Objects;
                Piece::of(head.as_bytes()).map(Arc::new)
            }
            State::Objects if at < objects.len() => {
                let leads = at == 0;
                let group = group(&objects[at..]);
                at += group.len();
                let versions =
                    group.iter().map(|object| (object.revision(), hash_of(object.key()))).collect();
                let place = Place { form: form.clone(), first: group[0].key().clone(), leads };
                match kept.get(&place, &versions) {
                    Some(piece) => Ok(piece),
                    None => Piece::of(&text_of(&items, group, leads)).map(|piece| {
                        let piece = Arc::new(piece);
                        kept.keep(place, versions, piece.clone());
                        piece
                    }),
                }
            }
            State::Objects => {
                state = State::Tail;
                Piece::of(tail).map(Arc::new)
            }
            State::Tail => {
                state = State::End;
                return Some(Ok(checksum.end()));
            }
            State::End => return None,
        };
        Some(piece.map_err(BoxError::from).map(|piece| {
            checksum.add(&piece);
            // The stream's own head goes before the list's.
            if begins { [GZIP_HEAD, &piece.deflated].concat().into() } else { piece.deflated.clone() }
        }))
    })
}

#[derive(Clone, Copy)]
enum State {
    Head,
    Objects,
    Tail,
    End,
}

/// The objects of the piece that these begin with; at least one of them.
fn group(objects: &[Arc<Object>]) -> &[Arc<Object>] {
    let mut bytes = 0;
    let end = objects.iter().enumerate().position(|(i, object)| {
        bytes += object.bytes().len();
        i > 0
            && (bytes > limits::LIST_PIECE_BYTES_MAX
                || hash_of(object.key()).is_multiple_of(limits::LIST_PIECE_OBJECTS))
    });
    &objects[..end.unwrap_or(objects.len())]
}

fn text_of(items: &Items, group: &[Arc<Object>], leads: bool) -> BytesMut {
    let size: usize = group.iter().map(|object| object.bytes().len() + 1).sum();
    let mut text = BytesMut::with_capacity(size);
    for (i, object) in group.iter().enumerate() {
        if i > 0 || !leads {
            text.extend_from_slice(b",");
        }
        items.write(&mut text, object.bytes());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_registry::Catalogue;
    use std::io::Read;

    fn object(number: u64, revision: Revision) -> Arc<Object> {
        let text = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p{number}","resourceVersion":"{revision}"}}}}"#
        );
        let key: Key = format!("/registry/core/pods/n/p{number:05}").into();
        Arc::new(Object::of(key, revision, text.into()))
    }

    fn list(kept: &Arc<Pieces>, objects: &[Arc<Object>]) -> String {
        let resource = Catalogue::builtin().get("", "v1", "pods").unwrap().clone();
        let chunks = gzip(kept.clone(), resource, "[".into(), objects.to_vec(), b"]");
        let stream: Vec<u8> = chunks.flat_map(|chunk| chunk.unwrap()).collect();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&stream[..]).read_to_string(&mut text).unwrap();
        text
    }

    fn plain(objects: &[Arc<Object>]) -> String {
        let item = |object: &Arc<Object>| {
            let text = String::from_utf8(object.bytes().to_vec()).unwrap();
            text.replace(r#""apiVersion":"v1","kind":"Pod","#, "")
        };
        format!("[{}]", objects.iter().map(item).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn only_pieces_that_changed_are_made_again() {
        let kept = Arc::new(Pieces::default());
        let mut objects: Vec<_> = (0..1000).map(|number| object(number, number + 1)).collect();
        assert_eq!(list(&kept, &objects), plain(&objects));
        let pieces = |kept: &Pieces| -> Vec<*const Piece> {
            kept.lock().pieces.values().map(|(_, piece)| Arc::as_ptr(piece)).collect()
        };
        let before = pieces(&kept);
        assert!(before.len() > 5, "{}", before.len());
        assert_eq!(list(&kept, &objects), plain(&objects));
        assert_eq!(pieces(&kept), before);
        // One changed, one gone, one new: each in one piece.
        objects[500] = object(500, 2000);
        objects.remove(100);
        objects.push(object(1000, 2001));
        assert_eq!(list(&kept, &objects), plain(&objects));
        let after = pieces(&kept);
        let new = after.iter().filter(|piece| !before.contains(piece)).count();
        assert!((1..=4).contains(&new), "{new}");
        // What is selected of them is another text in the same places.
        let some: Vec<_> = objects.iter().step_by(2).cloned().collect();
        assert_eq!(list(&kept, &some), plain(&some));
        assert_eq!(list(&kept, &[]), "[]");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let kept = Pieces::default();
        let text: Vec<u8> =
            (0..200_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        let piece = Arc::new(Piece::of(&text).unwrap());
        for number in 0..200 {
            let first: Key = format!("/{number}").into();
            kept.keep(Place { form: "f".into(), first, leads: false }, Versions::default(), piece.clone());
            assert!(kept.lock().bytes <= limits::LIST_PIECES_BYTES_MAX);
        }
        let kept = kept.lock();
        assert!(kept.pieces.len() < 200 && kept.pieces.len() == kept.order.len());
        assert_eq!(kept.bytes, kept.pieces.values().map(|(of, piece)| cost(of, piece)).sum::<usize>());
    }
}
