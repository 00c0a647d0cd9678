//! What is counted in a soak.

use serde::Serialize;

use crate::check::tally::Tally;
use crate::report;

/// What was done up to the end, or to the failure.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    /// Times that everything came to rest and was judged.
    pub(super) rounds: u64,
    /// Signals, by what became of them.
    #[serde(flatten)]
    pub(super) signals: Tally,
    /// Pending signals that were delivered when their vector opened.
    pub(super) delivered: u64,
    /// Vectors that were pending when everything was at rest.
    pub(super) pending: u64,
    /// What drivers and VMM did.
    #[serde(flatten)]
    pub(super) done: Done,
    /// Interrupts that the guest's handlers have handled.
    pub(super) handled: u64,
}

/// What drivers and VMM did.
#[derive(Debug, Default, Serialize)]
pub(super) struct Done {
    /// A vector masked or unmasked.
    pub(super) masks: u64,
    /// A vector's message rewritten, and often another CPU's.
    pub(super) moves: u64,
    /// Function Mask, MSI-X Enable or Bus Master Enable written.
    pub(super) switches: u64,
    /// The PBA read.
    pub(super) polls: u64,
    /// The function reset.
    pub(super) resets: u64,
    /// The function saved.
    pub(super) saves: u64,
    /// A saved state restored.
    pub(super) restores: u64,
    /// Descriptors of vectors taken, brought, exchanged or dropped.
    pub(super) promotions: u64,
}

impl report::Figures for Figures {
    fn extent(&self) -> String {
        format!("{} rounds", self.rounds)
    }

    fn lines(&self, _passed: bool) -> Vec<String> {
        let Self { signals, delivered, pending, done, handled, .. } = self;
        let Tally { sent, latched, collapsed, handed_over, written, retracted } = signals;
        let Done { masks, moves, switches, polls, resets, saves, restores, promotions } = done;
        vec![
            format!(
                "{} signals: {sent} sent, {latched} latched, {collapsed} collapsed, {handed_over} handed over, \
                 {written} by writers of descriptors",
                signals.signals()
            ),
            format!(
                "{delivered} of them delivered on unmask, {retracted} taken back by the device, \
                 {pending} pending at rest, {handled} interrupts handled"
            ),
            format!(
                "{masks} masks and unmasks, {moves} moves, {switches} switches of the function, {polls} polls, \
                 {resets} resets, {saves} saves, {restores} restores, {promotions} changes of descriptors"
            ),
        ]
    }
}
