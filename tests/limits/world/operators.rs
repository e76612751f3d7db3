//! What operators do to the shard of a [`World`]: they let its sessions go, and ask.

use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use ringway::shard::Answer;
use ringway::shard::Ask;
use ringway::shard::Left;
use ringway::shard::Question;

use crate::world::World;

impl World {
    /// The server begins to let its sessions go.
    pub(crate) fn begin_drain(&mut self) {
        self.health.drain();
        self.shard.begin_drain(self.now());
        self.carry();
    }

    /// Lets one share of the drain pass, 10 ms after the last one; `false` once nobody is left but
    /// who waits for a receipt.
    pub(crate) fn drain_some(&mut self) -> bool {
        self.now = self.now.after(Duration::from_millis(10));
        let goes_on = self.shard.drain_some(self.now());
        self.carry();
        goes_on
    }

    /// An operator asks; the shard has not begun to answer.
    pub(crate) fn ask(&mut self, question: Question) -> Receiver<Answer> {
        let (reply, answer) = mpsc::channel();
        self.shard.handle_ask(Ask { question, reply });
        answer
    }

    /// Does one step for operators.
    pub(crate) fn answer_some(&mut self) -> Left {
        let left = self.shard.answer_some(self.now());
        self.carry();
        left
    }
}
