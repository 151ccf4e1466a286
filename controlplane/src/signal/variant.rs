//! One codec of a publication: a track of its own on the packet plane, with its own media section of the publisher.
//!
//! A publication has one from the start (its primary) and may announce others, its backups, which the publisher begins to send
//! only when it is asked to (`room::tracks`).

use dataplane::base::ids::{PeerId, Rid, TrackId};
use dataplane::base::media::{Content, Format, MediaKind};
use dataplane::command::{Publish, SignalledSsrc};

use super::dynacast::Dynacast;
use crate::sdp::answer::{Accepted, codec_name};
use crate::sdp::description::Section;

/// A codec of a publication.
pub struct Variant {
    /// Its number on the packet plane.
    pub id: TrackId,
    /// What was negotiated; `None` until the publisher's offer named it.
    pub published: Option<Accepted>,
    /// Codec names its answer may choose from, in the table's spelling, the announced one first; may be empty.
    codecs: Vec<&'static str>,
    /// What its publisher was told to send of it.
    pub dynacast: Dynacast,
    /// SSRCs the offer named.
    ssrcs: Vec<SignalledSsrc>,
    /// Track ids its media section may carry.
    cids: Vec<String>,
}

impl Variant {
    /// The codec a track is announced with, which its publisher sends by itself.
    #[must_use]
    pub const fn primary(id: TrackId, codecs: Vec<&'static str>, cids: Vec<String>) -> Self {
        Self { id, published: None, codecs, dynacast: Dynacast::all_on(), ssrcs: Vec::new(), cids }
    }

    /// A codec that its publisher sends when it is asked to.
    #[must_use]
    pub const fn backup(id: TrackId, codecs: Vec<&'static str>) -> Self {
        Self { id, published: None, codecs, dynacast: Dynacast::off(), ssrcs: Vec::new(), cids: Vec::new() }
    }

    /// The id the client gave it.
    #[must_use]
    pub fn cid(&self) -> &str {
        self.cids.first().map_or("", String::as_str)
    }

    /// Whether a media section that carries this track id is ours.
    #[must_use]
    pub fn is_called(&self, cid: &str) -> bool {
        self.cids.iter().any(|c| c == cid)
    }

    /// Whether the client said which track its media section will carry.
    #[must_use]
    pub fn is_coming(&self) -> bool {
        !self.cids.is_empty()
    }

    /// The client is about to offer it as a track of one of these ids; they take the place of what it said before.
    pub fn comes_as<'a>(&mut self, cids: impl Iterator<Item = &'a String>) {
        self.cids = cids.filter(|cid| !cid.is_empty()).cloned().collect();
    }

    /// The codec as the client named it, or as negotiated if it named none.
    #[must_use]
    pub fn codec(&self) -> Option<&'static str> {
        self.codecs.first().copied().or_else(|| self.sent_codec())
    }

    /// Codec names its answer may choose from, most wanted first.
    #[must_use]
    pub fn choices(&self) -> &[&'static str] {
        &self.codecs
    }

    /// The codec it is sent as, once negotiated.
    #[must_use]
    pub fn sent_codec(&self) -> Option<&'static str> {
        self.formats().first().map(|format| codec_name(format.codec))
    }

    /// Formats the publisher sends.
    #[must_use]
    pub fn formats(&self) -> &[Format] {
        self.published.as_ref().map_or(&[], |p| &p.formats)
    }

    /// Simulcast layers from lowest to highest; empty without simulcast.
    #[must_use]
    pub fn rids(&self) -> &[Rid] {
        self.published.as_ref().map_or(&[], |p| &p.rids)
    }

    /// Takes what was negotiated; false if it is what it was.
    pub fn negotiated(&mut self, mut accepted: Accepted, section: &Section) -> bool {
        accepted.rids = lowest_first(accepted.rids);
        if self.published.as_ref() == Some(&accepted) && self.ssrcs == section.ssrcs {
            return false;
        }
        self.ssrcs.clone_from(&section.ssrcs);
        self.published = Some(accepted);
        true
    }

    /// The command that tells the packet plane; `None` before negotiation.
    #[must_use]
    pub fn publish(&self, peer: PeerId, kind: MediaKind, content: Content) -> Option<Publish> {
        let accepted = self.published.as_ref()?;
        Some(Publish {
            track: self.id,
            peer,
            kind,
            content,
            mid: accepted.mid,
            formats: accepted.formats.clone(),
            extensions: accepted.extensions,
            ssrcs: self.ssrcs.clone(),
            rids: accepted.rids.clone(),
        })
    }
}

/// Layers from lowest to highest: the names browsers' SDKs use say it, other names keep their order.
fn lowest_first(mut rids: Vec<Rid>) -> Vec<Rid> {
    const NAMES: [&str; 3] = ["q", "h", "f"];
    let place = |rid: &Rid| NAMES.iter().position(|name| *name == rid.as_str());
    if rids.iter().all(|rid| place(rid).is_some()) {
        rids.sort_by_key(place);
    }
    rids
}

#[cfg(test)]
mod tests {
    use dataplane::base::ids::Label;

    use super::*;

    #[test]
    fn layers_are_ordered_from_lowest_to_highest() {
        let rids = |names: &[&str]| -> Vec<Rid> {
            names.iter().filter_map(|name| Label::new(name.as_bytes())).collect()
        };
        assert_eq!(lowest_first(rids(&["f", "h", "q"])), rids(&["q", "h", "f"]));
        assert_eq!(lowest_first(rids(&["h", "q"])), rids(&["q", "h"]));
        assert_eq!(lowest_first(rids(&["a", "q"])), rids(&["a", "q"]));
    }
}
