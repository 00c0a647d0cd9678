//! The contract for two functions on one KVM, in other words than the crate's and sharing none of its code: for every vector
//! what its registers say, what it was told, where signals of its device and of producers wait, and who takes them.
//!
//! Functions are told apart by construction: what happens to one changes another by a GSI that it takes, or by a
//! commit, which is for all.

mod belief;
mod function;
mod host;
mod line;

use self::function::Function;
use self::host::Host;
use self::line::{Outside, Taker};
use super::ops::{Answer, Commits, Fault, Message, Op, Place, Seen, Setting, Step};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Oracle {
    defers: bool,
    gsis: u32,
    free: u32,
    functions: Vec<Function>,
}

impl Oracle {
    pub(crate) fn new(setting: Setting) -> Self {
        let functions = (0..).zip(setting.vectors);
        Self {
            defers: setting.commits == Commits::Loop,
            gsis: setting.gsis,
            free: setting.gsis,
            functions: functions.map(|(number, vectors)| Function::new(number, vectors)).collect(),
        }
    }

    fn is_over(&self, function: u8) -> bool {
        self.functions[usize::from(function)].is_over
    }

    pub(crate) fn vectors(&self, function: u8) -> u16 {
        u16::try_from(self.functions[usize::from(function)].lines.len())
            .expect("a number of vectors")
    }

    fn has_descriptor(&self, place: Place) -> bool {
        self.functions[usize::from(place.0)].lines[usize::from(place.1)].has_descriptor()
    }

    /// Whether it has a sense here.
    pub(crate) fn can(&self, op: Op) -> bool {
        let is_alive = op.function().is_none_or(|function| !self.is_over(function));
        is_alive
            && match op {
                Op::Promote(place) => !self.has_descriptor(place),
                Op::Write(place) | Op::Demote(place) => self.has_descriptor(place),
                Op::Swap(function) => self.vectors(function) > 1,
                Op::RunPending => self.defers,
                _ => true,
            }
    }

    /// What is seen of a step; and what KVM was asked in it, which could have failed.
    pub(crate) fn run(&mut self, step: &Step) -> (Seen, Vec<Fault>) {
        let (mut asked, mut interrupts) = (Vec::new(), Vec::new());
        let Self { defers, gsis, free, functions } = self;
        let mut host = Host {
            defers: *defers,
            free,
            faults: &step.faults,
            asked: &mut asked,
            interrupts: &mut interrupts,
        };
        let answer = act(functions, step.op, &mut host);
        let gsis = (*gsis - *free) as usize;
        interrupts.sort_unstable();
        let seen = Seen {
            answer,
            interrupts,
            functions: functions.iter().map(Function::seen).collect(),
            listening: self.listening(),
            gsis,
        };
        (seen, asked)
    }

    fn listening(&self) -> Vec<u32> {
        let lines = self.functions.iter().flat_map(|function| &function.lines);
        let mut listening: Vec<_> = lines
            .filter_map(|line| line.outside.as_ref())
            .filter_map(|outside| match outside.taker {
                Taker::Kvm(message) => Some(Message::data(message)),
                _ => None,
            })
            .collect();
        listening.sort_unstable();
        listening
    }
}

fn act(functions: &mut [Function], op: Op, host: &mut Host<'_>) -> Answer {
    match op {
        Op::RunPending => {
            functions.iter_mut().for_each(|function| function.serve_loop(host));
            functions.iter_mut().for_each(|function| function.commit(host));
            return Answer::Done;
        }
        Op::Flush(number) => return flush(functions, usize::from(number), host),
        _ => (),
    }
    let Some(number) = op.function() else { return Answer::Done };
    act_on(&mut functions[usize::from(number)], op, host)
}

fn flush(functions: &mut [Function], number: usize, host: &mut Host<'_>) -> Answer {
    functions[number].sync(true, host);
    if functions[number].lines.iter().any(|line| line.outside.is_some()) {
        functions.iter_mut().for_each(|function| function.commit(host));
        functions[number].hear();
    }
    if functions[number].unsynced().is_empty() { Answer::Done } else { Answer::Failed }
}

fn act_on(function: &mut Function, op: Op, host: &mut Host<'_>) -> Answer {
    match op {
        Op::Control(_, control) => {
            function.control = control;
            function.sync(true, host);
        }
        Op::BusMaster(_, allowed) => {
            function.bus_master = allowed;
            function.sync(false, host);
        }
        Op::Mask(place) | Op::Unmask(place) => {
            function.lines[usize::from(place.1)].mask_bit = op == Op::Mask(place);
            function.sync(false, host);
        }
        Op::Rewrite((_, vector)) => {
            function.lines[usize::from(vector)].message.programming ^= true;
            function.sync(false, host);
        }
        Op::Trigger((_, vector)) => return function.lines[usize::from(vector)].trigger(host),
        Op::Write((_, vector)) => function.lines[usize::from(vector)].write(host),
        Op::Retract((_, vector)) => {
            return Answer::Retracted(function.lines[usize::from(vector)].retract());
        }
        Op::Promote((_, vector)) => return done(promote(function, vector, None, host)),
        Op::Adopt((_, vector)) => return done(promote(function, vector, Some(()), host)),
        Op::Demote((_, vector)) => demote(function, vector, host),
        Op::Swap(_) => return done(function.swap(host)),
        Op::SaveRestore(_) => function.save_and_restore(host),
        Op::Reset(_) => {
            function.reset(host);
            // A driver programs it.
            function.sync(false, host);
        }
        Op::End(_) => {
            function.release(host);
            function.lines.iter_mut().for_each(|line| line.outside = None);
            function.is_over = true;
        }
        Op::Flush(_) | Op::RunPending => (),
    }
    Answer::Done
}

fn done(done: Result<(), ()>) -> Answer {
    if done.is_ok() { Answer::Done } else { Answer::Failed }
}

/// The vector gets a descriptor, or another one. If that fails at once, it goes on as it was.
fn promote(
    function: &mut Function,
    vector: u16,
    brought: Option<()>,
    host: &mut Host<'_>,
) -> Result<(), ()> {
    let line = &mut function.lines[usize::from(vector)];
    let (was_held, open) = (line.has_descriptor(), line.open);
    match &mut line.outside {
        // KVM has not let go of it: it is the vector's again.
        Some(outside) if brought.is_none() && outside.taker != Taker::Nobody => {
            outside.held = true;
            return Ok(());
        }
        Some(outside) => {
            outside.want_gsi(host).map_err(drop)?;
            line.withdraw(host).map_err(drop)?;
        }
        None => {
            let mut outside = Outside::default();
            outside.want_gsi(host).map_err(drop)?;
            line.outside = Some(outside);
        }
    }
    let Some(outside) = &mut line.outside else { return Ok(()) };
    (outside.held, outside.counted) = (true, brought.is_some());
    if brought.is_some()
        && let Some(gsi) = &mut outside.gsi
    {
        gsi.is_certain = false;
    }
    line.attach_again(host);
    if host.defers {
        return Ok(());
    }
    let before = line.news.take();
    line.commit(host);
    if line.news.take().is_none() {
        line.news = before;
        return Ok(());
    }
    undo(function, vector, was_held, open, host);
    Err(())
}

/// The vector has what it had before.
fn undo(
    function: &mut Function,
    vector: u16,
    was_held: bool,
    open: Option<Message>,
    host: &mut Host<'_>,
) {
    let line = &mut function.lines[usize::from(vector)];
    if let Some(outside) = &mut line.outside {
        (outside.held, outside.counted) = (was_held, false);
    }
    if let Some(message) = open
        && let Err(trouble) = line.open(message, host)
    {
        line.news = Some(trouble);
    }
    if was_held {
        line.attach_again(host);
        line.commit(host);
    }
    line.forget_unheld(host);
}

/// Whoever has the descriptor lets it go. If KVM does not, it stays until the vector is told something else.
fn demote(function: &mut Function, vector: u16, host: &mut Host<'_>) {
    let line = &mut function.lines[usize::from(vector)];
    if let Some(outside) = &mut line.outside {
        outside.held = false;
    }
    match line.withdraw(host) {
        Ok(()) => line.forget_unheld(host),
        Err(trouble) => line.news = Some(trouble),
    }
}
