//! Time, ticks, and answers that arrive.

use super::{Node, Order, worker::Called};
use crate::vm::Phase;

/// Something that is due.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The answer at this place of the schedule.
    Answer(usize),
    /// The tick of a root context of a worker.
    Tick(usize, u32),
}

impl Node {
    /// When the next event is due.
    pub(super) fn next_event_ms(&mut self) -> Option<u64> {
        let answers = self.scheduled.iter().map(|scheduled| scheduled.due_ms).min();
        let ticks = self.ticks().into_iter().map(|(_, _, due_ms)| due_ms).min();
        [answers, ticks].into_iter().flatten().min()
    }

    /// Lets time pass from event to event.
    pub(super) fn pass_time(&mut self, ms: u64) {
        let clock = self.shared.borrow().clock.clone();
        let end = clock.now_ms().saturating_add(ms);
        while let Some(next) = self.next_event_ms().filter(|next| *next <= end) {
            clock.set(next.max(clock.now_ms()));
            let due = self.due();
            let chosen = match self.order {
                Order::Oldest => due.first(),
                Order::Youngest => due.last(),
                Order::Any(_) => due.get(self.random.usize(..due.len().max(1))),
            };
            match chosen.copied() {
                Some(Event::Answer(index)) => self.deliver(index),
                Some(Event::Tick(worker, root)) => self.tick(worker, root),
                None => break,
            }
        }
        clock.set(end);
    }

    /// Moves what is to come along with the clock.
    pub(super) fn shift_events(&mut self, from_ms: u64, to_ms: u64) {
        let shifted = |due_ms: u64| due_ms.saturating_sub(from_ms).saturating_add(to_ms);
        for scheduled in &mut self.scheduled {
            scheduled.due_ms = shifted(scheduled.due_ms);
        }
        for worker in &mut self.workers {
            for root in worker.vm().into_iter().flat_map(|vm| vm.roots.values_mut()) {
                root.next_tick_ms = shifted(root.next_tick_ms);
            }
        }
    }

    fn due(&mut self) -> Vec<Event> {
        let now = self.now_ms();
        let answers = self.scheduled.iter().enumerate();
        let mut due: Vec<(u64, Event)> = answers
            .filter(|(_, scheduled)| scheduled.due_ms <= now)
            .map(|(index, scheduled)| (scheduled.due_ms, Event::Answer(index)))
            .collect();
        let ticks = self.ticks().into_iter().filter(|(_, _, due_ms)| *due_ms <= now);
        due.extend(ticks.map(|(worker, root, due_ms)| (due_ms, Event::Tick(worker, root))));
        due.sort_by_key(|(due_ms, _)| *due_ms);
        due.into_iter().map(|(_, event)| event).collect()
    }

    /// Worker, root context and moment of every tick to come.
    fn ticks(&mut self) -> Vec<(usize, u32, u64)> {
        let mut ticks = Vec::new();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let roots = worker.vm().into_iter().flat_map(|vm| &vm.roots);
            let ticking = roots.filter(|(_, root)| root.tick_ms > 0);
            ticks.extend(ticking.map(|(context, root)| (index, *context, root.next_tick_ms)));
        }
        ticks
    }

    fn tick(&mut self, worker: usize, context: u32) {
        let now = self.now_ms();
        let vm = self.workers.get_mut(worker).and_then(super::Worker::vm);
        if let Some(root) = vm.and_then(|vm| vm.roots.get_mut(&context)) {
            root.next_tick_ms = now + root.tick_ms;
        }
        self.call(worker, Phase::Tick, context, &[context], None);
        self.settle(worker);
    }

    fn deliver(&mut self, index: usize) {
        let answer = self.scheduled.remove(index);
        let (worker, context, token) = (answer.call.worker, answer.call.context, answer.call.token);
        if !answer.call.from_root {
            let Some(http) = self.http(worker, context) else { return };
            http.pending.remove(&token);
            http.timeouts_in_a_row = match answer.delivery.timed_out() {
                true => http.timeouts_in_a_row + 1,
                false => 0,
            };
            http.lost_body = !answer.call.body.is_empty() && answer.delivery.failed();
        }
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let counts = [number(answer.delivery.header_count), number(answer.delivery.body.len())];
        let arguments = [context, token, counts[0], counts[1], 0];
        let called =
            self.call(worker, Phase::CallResponse, context, &arguments, Some(answer.delivery));
        if let Called::Returned(_) = called {
            self.check_for_hang(worker, context);
        }
        self.settle(worker);
    }
}
