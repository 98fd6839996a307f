//! Which items go, and in which order. Pure: an inventory in, a choice out.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::inventory::{Inventory, Item, Kind};

/// Which items are meant; everything that is said has to hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub kinds: Vec<Kind>,
    /// Beginnings of ids.
    pub ids: Vec<String>,
    pub unused_for: Option<Duration>,
    pub in_use: Option<bool>,
    /// Whether images need it.
    pub shared: Option<bool>,
}

/// How much may stay. Zero is no limit, as none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// What may always stay.
    pub reserved: Option<u64>,
    /// What the store may take at most.
    pub max_used: Option<u64>,
    /// What the file system must have free at least.
    pub min_free: Option<u64>,
}

/// What a collection is for.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    pub filter: Filter,
    /// Also images without a name that were used of late.
    pub all: bool,
    pub limits: Limits,
}

/// An image without a name stays that long after its last use: somebody may still have its id.
pub const NAMELESS_STAYS: Duration = Duration::from_secs(24 * 3600);

impl Filter {
    pub fn matches(&self, item: &Item, now: SystemTime) -> bool {
        let is_one_of = |ids: &[String]| ids.iter().any(|id| item.id.starts_with(&**id));
        (self.kinds.is_empty() || self.kinds.contains(&item.kind))
            && (self.ids.is_empty() || is_one_of(&self.ids))
            && self.unused_for.is_none_or(|duration| unused_for(item, now) >= duration)
            && self.in_use.is_none_or(|wanted| item.in_use == wanted)
            && self.shared.is_none_or(|wanted| item.needed_by.is_empty() != wanted)
    }
}

impl Limits {
    /// What may stay of `total`, where the file system has `free` left.
    fn goal(&self, total: u64, free: u64) -> u64 {
        let said = |limit: Option<u64>| limit.filter(|limit| *limit > 0);
        let by_use = said(self.max_used);
        let by_space = said(self.min_free).map(|wanted| total.saturating_sub(wanted.saturating_sub(free)));
        let goal = match (by_use, by_space) {
            (Some(a), Some(b)) => a.min(b),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => 0,
        };
        goal.max(self.reserved.unwrap_or(0))
    }
}

/// Chooses what goes: the least recently used first, what is built upon something before that, an image before its
/// layers, until the goal is reached. `free` is what the file system has left.
pub fn choose(inventory: &Inventory, request: &PruneRequest, now: SystemTime, free: u64) -> Vec<usize> {
    let mut total = inventory.total();
    let goal = request.limits.goal(total, free);
    let items = &inventory.items;
    let mut order: Vec<usize> =
        (0..items.len()).filter(|index| is_candidate(inventory, *index, request, now)).collect();
    order.sort_by_key(|index| {
        let item = &items[*index];
        (item.last_used, item.kind, std::cmp::Reverse(item.depth))
    });
    let mut chosen = HashSet::new();
    let mut choice = Vec::new();
    for index in order {
        if total <= goal {
            break;
        }
        let item = &items[index];
        if item.needed_by.iter().all(|image| chosen.contains(image)) {
            total = total.saturating_sub(item.size.unwrap_or(0));
            chosen.insert(index);
            choice.push(index);
        }
    }
    choice
}

fn is_candidate(inventory: &Inventory, index: usize, request: &PruneRequest, now: SystemTime) -> bool {
    let item = &inventory.items[index];
    let is_settled = match item.kind {
        Kind::Image => request.all || unused_for(item, now) >= NAMELESS_STAYS,
        Kind::Regular | Kind::Layer | Kind::Blob => true,
    };
    inventory.is_reclaimable(index) && is_settled && request.filter.matches(item, now)
}

fn unused_for(item: &Item, now: SystemTime) -> Duration {
    now.duration_since(item.last_used).unwrap_or_default()
}
