//! What guests do, replayed from `data/guests`: see the README there.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use vm_msix::test_utils::MockBackend;
use vm_msix::{MsiMessage, MsixCap, MsixConfig, MsixLayout, Signal};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A function, and what its messages were.
struct Replay {
    msix: MsixConfig<Arc<MockBackend>>,
    backend: Arc<MockBackend>,
    capability: [u8; 12],
}

/// Where an access goes.
enum Place {
    Capability(usize),
    Table(u64),
    Pba(u64),
}

impl Replay {
    fn new(vectors: u16) -> Outcome<Self> {
        let backend = Arc::new(MockBackend::new(vectors)?);
        let msix = MsixConfig::new(vectors, Arc::clone(&backend), 0x1042_1af4, "guest")?;
        let capability = *MsixCap::of(MsixLayout::propose(vectors, 0)?).bytes();
        Ok(Self { msix, backend, capability })
    }

    /// Does what a line says.
    fn step(&mut self, line: &str) -> Outcome {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["read", place, width, expected] => {
                let read = self.read(&parse_place(place)?, number(width)?)?;
                expect(&format!("{read:#x}"), &format!("{:#x}", number(expected)?))
            }
            ["write", place, width, value] => {
                self.write(&parse_place(place)?, number(width)?, number(value)?)
            }
            ["signal", vector, expected] => {
                let signal = match self.msix.trigger(number(vector)?.try_into()?)? {
                    Signal::Sent => "sent",
                    Signal::Latched => "latched",
                    Signal::Collapsed => "collapsed",
                    Signal::HandedOver => "handed over",
                };
                expect(signal, expected)
            }
            ["retract", vector] => {
                let was_latched = self.msix.retract(number(vector)?.try_into()?)?;
                expect(&was_latched.to_string(), "true")
            }
            _ => Err("no such step".into()),
        }
    }

    fn read(&self, place: &Place, width: u64) -> Outcome<u64> {
        let mut bytes = [0; 8];
        let data = bytes.get_mut(..width.try_into()?).ok_or("too wide")?;
        match *place {
            Place::Table(offset) => self.msix.read_msix_table(offset, data),
            Place::Pba(offset) => self.msix.read_pba_entries(offset, data),
            Place::Capability(offset) => {
                let capability = self.capability();
                let end = offset + data.len();
                data.copy_from_slice(capability.get(offset..end).ok_or("past its end")?);
            }
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn write(&mut self, place: &Place, width: u64, value: u64) -> Outcome {
        let bytes = value.to_le_bytes();
        let data = bytes.get(..width.try_into()?).ok_or("too wide")?;
        match *place {
            Place::Table(offset) => drop(self.msix.write_msix_table(offset, data)),
            Place::Pba(offset) => self.msix.write_pba_entries(offset, data),
            Place::Capability(offset) => {
                self.msix.write_msix_capability(offset.try_into()?, data);
            }
        }
        Ok(())
    }

    /// As configuration space shows it.
    fn capability(&self) -> [u8; 12] {
        let mut capability = self.capability;
        let [first, ..] = capability.as_chunks_mut::<4>().0 else { return capability };
        *first = self.msix.read_msix_capability(u32::from_le_bytes(*first)).to_le_bytes();
        capability
    }

    /// All messages that left since the last look.
    fn expect_sent(&self, expected: &[(u16, MsiMessage)]) -> Outcome {
        expect(&format!("{:x?}", self.backend.take_sent()), &format!("{expected:x?}"))
    }
}

fn expect(seen: &str, expected: &str) -> Outcome {
    if seen == expected { Ok(()) } else { Err(format!("{seen}, and not {expected}").into()) }
}

fn number(text: &str) -> Outcome<u64> {
    Ok(match text.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16)?,
        None => text.parse()?,
    })
}

fn parse_place(text: &str) -> Outcome<Place> {
    /// Of Message Control, in the capability.
    const CONTROL: usize = 2;
    Ok(match text.split_once('+') {
        None if text == "control" => Place::Capability(CONTROL),
        Some(("capability", offset)) => Place::Capability(number(offset)?.try_into()?),
        Some(("table", offset)) => Place::Table(number(offset)?),
        Some(("pba", offset)) => Place::Pba(number(offset)?),
        _ => return Err(format!("no such place: {text}").into()),
    })
}

/// A message that a line says was sent.
fn parse_sent(line: &str) -> Outcome<Option<(u16, MsiMessage)>> {
    let ["sent", vector, address, data] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        return Ok(None);
    };
    let message = MsiMessage::new(number(address)?, number(data)?.try_into()?);
    Ok(Some((number(vector)?.try_into()?, message)))
}

/// Replays a recording; the error says where it went another way.
fn replay(recording: &str) -> Outcome {
    let lines = (1..).zip(recording.lines().map(str::trim));
    let mut steps = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).peekable();
    let (_, first) = steps.next().ok_or("an empty recording")?;
    let vectors = first.strip_prefix("vectors ").ok_or("it begins with the number of vectors")?;
    let mut replay = Replay::new(vectors.parse()?)?;
    while let Some((number, line)) = steps.next() {
        let mut expected = Vec::from_iter(parse_sent(line)?);
        let outcome = if line == "silent" {
            replay.expect_sent(&[])
        } else if expected.is_empty() {
            replay.step(line)
        } else {
            // A run of such lines says it all.
            while let Some((_, next)) = steps.next_if(|(_, line)| line.starts_with("sent ")) {
                expected.extend(parse_sent(next)?);
            }
            replay.expect_sent(&expected)
        };
        outcome.map_err(|error| format!("line {number}, {line:?}: {error}"))?;
    }
    // Nothing left that no line speaks of.
    replay.expect_sent(&[])
}

fn recordings() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/guests");
    let files = fs::read_dir(folder).expect("the recordings").map(|entry| entry.unwrap().path());
    let recordings = files.filter(|path| path.extension().is_some_and(|kind| kind == "txt"));
    recordings.map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_guest_gets_what_it_expects() {
    let recordings = recordings();
    assert_eq!(recordings.len(), 8);
    for (name, recording) in recordings {
        if let Err(error) = replay(&recording) {
            panic!("{name}: {error}");
        }
    }
}

/// Without the messages that it says are sent, and with other outcomes of its signals, a recording does not pass: it says all
/// that comes.
#[test]
fn a_recording_that_is_not_followed_is_noticed() {
    for (name, recording) in recordings() {
        let (with, without): (Vec<_>, Vec<_>) =
            recording.lines().partition(|line| line.starts_with("sent "));
        assert!(!with.is_empty(), "{name} delivers nothing");
        assert!(replay(&without.join("\n")).is_err(), "{name} does not look at what is sent");
        let doubled = recording.replace("latched", "collapsed").replace(" sent\n", " latched\n");
        assert!(replay(&doubled).is_err(), "{name} does not look at signals");
    }
}
