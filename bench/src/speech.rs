//! How clients speak to a server: from the upgrade to the subscription, and what they send and
//! understand from then on. Pure: texts in, texts out.

use std::time::Duration;

use crate::plan::Dialect;
use crate::plan::TokenPlace;
use crate::plan::Words;
use crate::plan::fill;
use crate::plan::unescape;
use crate::stomp;
use crate::stomp::Inbound;
use crate::token::Tokens;
use crate::url::Url;

/// One client: who it is and what it wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Its number among all clients of the run, from 0.
    pub number: usize,
    /// What it subscribes to, from 0; `None` for one that only sends.
    pub room: Option<usize>,
    /// It will stop reading.
    pub is_slow: bool,
    /// The server must refuse it.
    pub is_rejected: bool,
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// The upgrade is not answered.
    #[default]
    Upgrading,
    /// The greeting or CONNECT is not answered.
    Greeting,
    /// The subscription is not confirmed.
    Subscribing,
    /// The scenario can begin.
    Ready,
}

/// What a client does next: where it stands, and what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Where it stands now.
    pub stage: Stage,
    /// Messages to send.
    pub texts: Vec<Vec<u8>>,
    /// Heart-beats that were agreed on: how often the server speaks, and how often the client.
    pub heart_beats: Option<(Duration, Duration)>,
}

/// What a message of the server was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A payload and nothing else.
    Payload(&'a [u8]),
    /// A text that may hold payloads.
    Text(&'a [u8]),
    /// The confirmation of the message with this number.
    Receipt(Option<u64>),
    /// A sign of life.
    HeartBeat,
    /// A question, with its answer.
    Question(&'a str),
    /// A refusal, or nothing that can be understood.
    Trouble(String),
}

/// All that is said to one server.
#[derive(Clone, Debug)]
pub struct Speech {
    words: Words,
    tokens: Tokens,
    tokens_rejected: Tokens,
    url: Url,
    subscribed: Vec<u8>,
    greeted: Vec<u8>,
    answers: Vec<(String, String)>,
}

impl Speech {
    /// What `words` say, spoken to `url`.
    ///
    /// # Errors
    ///
    /// Tokens cannot be had, or an answer lacks its question.
    pub fn new(words: &Words, url: &Url) -> anyhow::Result<Self> {
        let mut answers = Vec::new();
        for pair in &words.answer {
            let Some((question, answer)) = pair.split_once('=') else {
                anyhow::bail!("answer: QUESTION=ANSWER is wanted, not {pair}");
            };
            answers.push((unescape(question), unescape(answer)));
        }
        Ok(Self {
            tokens: Tokens::new(words)?,
            tokens_rejected: Tokens::rejected(words)?,
            subscribed: unescape(&words.subscribed).into_bytes(),
            greeted: unescape(&words.greeted).into_bytes(),
            words: words.clone(),
            url: url.clone(),
            answers,
        })
    }

    /// Whether messages are binary ones.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.words.binary
    }

    /// The request for the upgrade.
    #[must_use]
    pub fn head(&self, client: Client, key: &str) -> String {
        let token = self.token_of(client);
        let mut path = self.url.path.clone();
        let mut lines = String::new();
        if self.words.dialect == Dialect::Stomp {
            lines.push_str("Sec-WebSocket-Protocol: v12.stomp\r\n");
        }
        match (token, self.words.token_in) {
            (Some(token), TokenPlace::Header) => {
                lines.push_str(&format!("Authorization: Bearer {token}\r\n"));
            }
            (Some(token), TokenPlace::Query) => {
                let mark = if path.contains('?') { '&' } else { '?' };
                path.push_str(&format!("{mark}access_token={token}"));
            }
            (Some(_), TokenPlace::Connect) | (None, _) => {}
        }
        for header in &self.words.header {
            lines.push_str(&format!("{header}\r\n"));
        }
        format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n",
            self.url.host
        )
    }

    fn token_of(&self, client: Client) -> Option<String> {
        let tokens = if client.is_rejected { &self.tokens_rejected } else { &self.tokens };
        tokens.of(client.number)
    }

    /// What a client does once it is upgraded.
    #[must_use]
    pub fn upgraded(&self, client: Client) -> Step {
        match self.words.dialect {
            Dialect::Stomp => {
                let Words { login, passcode, host, heart_beat, token_in, .. } = &self.words;
                let n = client.number.to_string();
                let mut headers = Vec::new();
                for (name, template) in [("login", login), ("passcode", passcode)] {
                    if !template.is_empty() {
                        headers.push((name, fill(template, &[("n", &n)])));
                    }
                }
                if let Some(token) = self.token_of(client)
                    && *token_in == TokenPlace::Connect
                {
                    headers.push(("Authorization", format!("Bearer {token}")));
                }
                let mut text = Vec::new();
                let host = if host.is_empty() { self.url.name() } else { host };
                stomp::encode_connect(host, *heart_beat, &headers, &mut text);
                Step { stage: Stage::Greeting, texts: vec![text], heart_beats: None }
            }
            Dialect::Plain if self.words.greeting.is_empty() => self.subscribe(client),
            Dialect::Plain => {
                let greeting = unescape(&self.of_client(&self.words.greeting, client));
                let mut step = match self.greeted.is_empty() {
                    true => self.subscribe(client),
                    false => Step { stage: Stage::Greeting, ..Step::default() },
                };
                step.texts.insert(0, greeting.into_bytes());
                step
            }
        }
    }

    /// What a client that stands at `stage` does when `message` comes.
    ///
    /// # Errors
    ///
    /// The server refused it.
    pub fn answered(&self, client: Client, stage: Stage, message: &[u8]) -> anyhow::Result<Step> {
        let wait = Step { stage, ..Step::default() };
        match (self.words.dialect, stage) {
            (_, Stage::Upgrading | Stage::Ready) => Ok(wait),
            (Dialect::Plain, Stage::Greeting | Stage::Subscribing) => {
                if let Heard::Question(answer) = self.understand(message) {
                    return Ok(Step { texts: vec![answer.as_bytes().to_vec()], ..wait });
                }
                let is_greeting = stage == Stage::Greeting;
                let expected = if is_greeting { &self.greeted } else { &self.subscribed };
                match memchr::memmem::find(message, expected) {
                    Some(_) if is_greeting => Ok(self.subscribe(client)),
                    Some(_) => Ok(Step { stage: Stage::Ready, ..Step::default() }),
                    None => Ok(wait),
                }
            }
            (Dialect::Stomp, Stage::Greeting | Stage::Subscribing) => {
                let Inbound::Frame(frame) = Inbound::parse(message)? else { return Ok(wait) };
                match frame.command {
                    b"CONNECTED" => {
                        let beats = agree(self.words.heart_beat, frame.header("heart-beat"));
                        Ok(Step { heart_beats: Some(beats), ..self.subscribe(client) })
                    }
                    b"RECEIPT" if frame.header("receipt-id") == Some(b"subscribed") => {
                        anyhow::ensure!(
                            frame.header("recovered") != Some(b"false"),
                            "not all of the history was there"
                        );
                        Ok(Step { stage: Stage::Ready, ..Step::default() })
                    }
                    b"MESSAGE" => Ok(wait),
                    _ => anyhow::bail!("the server answered {}", frame.summary()),
                }
            }
        }
    }

    fn subscribe(&self, client: Client) -> Step {
        let Some(room) = client.room else {
            return Step { stage: Stage::Ready, ..Step::default() };
        };
        let destination = self.of_room(&self.words.subscribe, room, client.number, &[]);
        let mut text = Vec::new();
        match self.words.dialect {
            Dialect::Stomp => stomp::encode_subscribe(&destination, self.words.history, &mut text),
            Dialect::Plain => text = unescape(&destination).into_bytes(),
        }
        let is_confirmed =
            self.words.dialect == Dialect::Stomp || !self.words.subscribed.is_empty();
        let stage = if is_confirmed { Stage::Subscribing } else { Stage::Ready };
        let texts = if text.is_empty() { Vec::new() } else { vec![text] };
        Step { stage, texts, heart_beats: None }
    }

    /// Writes the message with `body` for `room` over `output`; `number` is that of the receipt it
    /// asks for, if receipts are wanted.
    pub fn publish(&self, room: usize, number: u64, body: &[u8], output: &mut Vec<u8>) {
        output.clear();
        match self.words.dialect {
            Dialect::Stomp => {
                let destination = self.of_room(&self.words.send, room, 0, &[]);
                let receipt = self.words.receipts.then_some(number);
                stomp::encode_send(&destination, receipt, body, output);
            }
            Dialect::Plain if self.words.send == "{body}" => output.extend_from_slice(body),
            Dialect::Plain => {
                let bytes = body.len().to_string();
                let body = String::from_utf8_lossy(body);
                let more = [("body", &*body), ("bytes", &bytes)];
                let send = unescape(&self.words.send);
                output.extend_from_slice(self.of_room(&send, room, 0, &more).as_bytes());
            }
        }
    }

    /// What `message` is, once the scenario has begun.
    #[must_use]
    pub fn understand<'a>(&'a self, message: &'a [u8]) -> Heard<'a> {
        match self.words.dialect {
            Dialect::Plain => {
                let asked =
                    self.answers.iter().find(|(question, _)| question.as_bytes() == message);
                asked.map_or(Heard::Text(message), |(_, answer)| Heard::Question(answer))
            }
            Dialect::Stomp => match Inbound::parse(message) {
                Ok(Inbound::HeartBeat) => Heard::HeartBeat,
                Ok(Inbound::Frame(frame)) => match frame.command {
                    b"MESSAGE" => Heard::Payload(frame.body),
                    b"RECEIPT" => {
                        let id = frame.header("receipt-id").unwrap_or_default();
                        Heard::Receipt(std::str::from_utf8(id).ok().and_then(|it| it.parse().ok()))
                    }
                    _ => Heard::Trouble(frame.summary()),
                },
                Err(error) => Heard::Trouble(error.to_string()),
            },
        }
    }

    fn of_client(&self, template: &str, client: Client) -> String {
        self.of_room(template, client.room.unwrap_or(0), client.number, &[])
    }

    fn of_room(&self, template: &str, room: usize, number: usize, more: &[(&str, &str)]) -> String {
        let (room0, n) = (room.to_string(), number.to_string());
        let room = (room + 1).to_string();
        let values = [("room", room.as_str()), ("room0", room0.as_str()), ("n", n.as_str())];
        fill(template, &[&values[..], more].concat())
    }
}

/// How often the server speaks and how often we do, from our wish and its answer (STOMP 1.2,
/// "Heart-beating").
fn agree(ours_ms: u32, answer: Option<&[u8]>) -> (Duration, Duration) {
    let answer = answer.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or("0,0");
    let (can, wants) = answer.split_once(',').unwrap_or(("0", "0"));
    let slower = |theirs: &str| {
        let theirs_ms: u32 = theirs.trim().parse().unwrap_or(0);
        let is_on = ours_ms != 0 && theirs_ms != 0;
        Duration::from_millis(if is_on { u64::from(ours_ms.max(theirs_ms)) } else { 0 })
    };
    (slower(can), slower(wants))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Experiment;
    use crate::plan::Knobs;
    use std::path::Path;

    fn speech(settings: &str) -> Speech {
        let text = format!("scenario = 'fanout'\nurl = 'ws://host:1/ws'\n{settings}");
        let experiment = Experiment::parse(&text, Path::new("."), &Knobs::default()).unwrap();
        let plan = experiment.plan(&experiment.cases[0], &experiment.subjects[0]).unwrap();
        Speech::new(&plan.words, &"ws://127.0.0.1:1/ws".parse().unwrap()).unwrap()
    }

    fn client() -> Client {
        Client { number: 4, room: Some(2), ..Client::default() }
    }

    /// Plays `messages` to a client and returns all it says.
    fn play(speech: &Speech, messages: &[&str]) -> (Stage, Vec<String>) {
        let mut step = speech.upgraded(client());
        let mut said = Vec::new();
        for message in messages {
            said.append(&mut step.texts);
            step = speech.answered(client(), step.stage, message.as_bytes()).unwrap();
        }
        said.append(&mut step.texts);
        let said = said.into_iter().map(|it| String::from_utf8(it).unwrap()).collect();
        (step.stage, said)
    }

    #[test]
    fn a_stomp_client_connects_and_subscribes_with_its_own_name() {
        let speech = speech("login = 'u{n}'\nheart-beat = 5\ntoken = 't{n}'");
        let connected = "CONNECTED\nheart-beat:0,0\n\n\0";
        let (stage, said) = play(&speech, &[connected, "RECEIPT\nreceipt-id:subscribed\n\n\0"]);
        assert_eq!((stage, said.len()), (Stage::Ready, 2));
        assert!(said[0].contains("\nlogin:u4\nAuthorization:Bearer t4\n"), "{}", said[0]);
        assert!(said[1].contains("\ndestination:/topic/room.3\n"));
        let refused = speech.answered(client(), Stage::Greeting, b"ERROR\nmessage:no\n\n\0");
        assert!(refused.unwrap_err().to_string().contains("message:no"));
    }

    #[test]
    fn tokens_go_where_they_are_wanted() {
        let head = |place| speech(&format!("token='t'\ntoken-in='{place}'")).head(client(), "k");
        assert!(head("header").contains("\r\nAuthorization: Bearer t\r\n"));
        assert!(head("query").starts_with("GET /ws?access_token=t HTTP/1.1\r\n"));
        assert!(!head("connect").contains('t') || !head("connect").contains("Bearer"));
    }

    #[test]
    fn a_plain_client_greets_answers_and_subscribes_as_it_is_told() {
        let nats = speech(
            "dialect = 'plain'\ngreeting = 'CONNECT {}\\r\\n'\ngreeted = 'INFO'\n\
             subscribe = 'SUB r.{room} {n}\\r\\nPING\\r\\n'\nsubscribed = 'PONG'\n\
             send = 'PUB r.{room} {bytes}\\r\\n{body}\\r\\n'\nanswer = ['PING\\r\\n=PONG\\r\\n']",
        );
        let (stage, said) = play(&nats, &["+OK", "INFO {}", "PING\r\n", "PONG\r\n"]);
        assert_eq!(stage, Stage::Ready);
        assert_eq!(said, ["CONNECT {}\r\n", "SUB r.3 4\r\nPING\r\n", "PONG\r\n"]);
        let mut message = Vec::new();
        nats.publish(0, 9, b"abc", &mut message);
        assert_eq!(message, b"PUB r.1 3\r\nabc\r\n");
        assert_eq!(play(&speech("dialect = 'plain'\nsubscribed = ''"), &[]).0, Stage::Ready);
    }

    #[test]
    fn the_slower_wish_sets_a_heart_beat_and_zero_on_either_side_stops_it() {
        let ms = Duration::from_millis;
        assert_eq!(agree(10_000, Some(b"25000,5000")), (ms(25_000), ms(10_000)));
        assert_eq!(agree(10_000, Some(b"0,5000")), (ms(0), ms(10_000)));
        assert_eq!(agree(0, Some(b"25000,5000")), (ms(0), ms(0)));
        assert_eq!(agree(10_000, None), (ms(0), ms(0)));
    }
}
