//! What one listener has of one room, by what it was told.

use super::record::Id;
use super::record::Micros;
use super::record::Place;
use super::record::Wish;

/// What a listener has, as far as it has been followed.
pub(crate) struct View {
    pub(crate) heard: Vec<(Place, Id)>,
    pub(crate) wish: Wish,
    pub(crate) asked_at: Micros,
    pub(crate) is_answered: bool,
    pub(crate) is_whole: bool,
}

impl Default for View {
    fn default() -> Self {
        let heard = Vec::new();
        Self { heard, wish: Wish::Live, asked_at: 0, is_answered: false, is_whole: false }
    }
}

impl View {
    /// It subscribes.
    pub(crate) fn ask(&mut self, at: Micros, wish: Wish) -> Result<(), String> {
        match wish {
            Wish::All => self.heard.clear(),
            Wish::Live => {}
            // Who was cut off before the RECEIPT does not know whether what it was given is whole.
            Wish::Since(place) if !self.is_answered => self.heard.retain(|it| it.0 <= place),
            Wish::Since(_) => {}
        }
        let last = self.heard.last().map(|(place, _)| *place);
        let is_fair = match wish {
            Wish::Since(place) => last == Some(place),
            Wish::All | Wish::Live => last.is_none(),
        };
        *self = Self { wish, asked_at: at, is_answered: false, ..std::mem::take(self) };
        let told = || format!("the client asks for {wish:?} and has {last:?}");
        if is_fair { Ok(()) } else { Err(told()) }
    }

    /// It is given a message.
    pub(crate) fn hear(&mut self, place: Place, id: Id) -> Result<(), String> {
        match self.heard.last() {
            Some((last, _)) if place <= *last => {
                let is_again = self.heard.iter().any(|it| it.0 == place);
                let how = if is_again { "heard again" } else { "heard too late" };
                Err(format!("{id} at {place} was {how}, after {last}"))
            }
            Some(_) | None => {
                self.heard.push((place, id));
                Ok(())
            }
        }
    }
}
