//! Growth: what enlarges the process, when malloc is not looked at.

use tracer_common::config::FAULT_PERIOD;

use super::Trace;
use crate::events::{Allocation, AllocationKey, Event};
use crate::functions::Group;
use crate::target::Pages;

impl Trace {
    /// Watches page faults, besides the functions of [`Group::Growth`].
    pub(super) fn watch_faults(&mut self) {
        self.pages = Pages::of(self.process.pid).ok();
        let watched = match self.pages {
            Some(_) => self.probes.watch_faults(),
            None => Err(anyhow::anyhow!(
                "/proc/{}/pagemap can't be read",
                self.process.pid
            )),
        };
        if let Err(error) = watched {
            self.notes.push(format!(
                "page faults are not watched, so that growth is known by mappings only: {error:#}"
            ));
        }
    }

    /// When malloc has been given up, what it takes from the system is still to be seen.
    pub(super) fn fall_back_to_growth(&mut self) -> anyhow::Result<()> {
        if self.keeper.active().contains(&Group::Growth) {
            return Ok(());
        }
        let now = self.seconds();
        self.keeper.begin(Group::Growth, now);
        let active = self.keeper.active();
        self.probes.record(&active)?;
        let modules: Vec<_> = self
            .modules
            .modules
            .iter()
            .map(|module| module.id)
            .collect();
        self.hook(&modules, &[Group::Growth]);
        self.watch_faults();
        Ok(())
    }

    /// A fault tells an address: how big the page is that became resident there, the target's page tables say.
    pub(super) fn sized(&self, event: Event) -> Event {
        match (event, &self.pages) {
            (Event::Faulted(page), Some(pages)) => {
                let (address, bytes) = pages.around(page.key.address);
                Event::Faulted(Allocation {
                    key: AllocationKey {
                        address,
                        ..page.key
                    },
                    size: bytes * FAULT_PERIOD,
                    ..page
                })
            }
            (event, _) => event,
        }
    }
}
