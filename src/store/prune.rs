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
    /// Also images without a name, and digests of contexts, that were used of late.
    pub all: bool,
    pub limits: Limits,
}

/// An image without a name stays that long after its last use: somebody may still have its id. So do digests of a context,
/// which are small and worth a reading of all its files.
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
        Kind::Image | Kind::Context => request.all || unused_for(item, now) >= NAMELESS_STAYS,
        Kind::Regular | Kind::Layer | Kind::Blob | Kind::Cache | Kind::Repository => true,
    };
    inventory.is_reclaimable(index) && is_settled && request.filter.matches(item, now)
}

fn unused_for(item: &Item, now: SystemTime) -> Duration {
    now.duration_since(item.last_used).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const HOUR: u64 = 3600;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1000 * HOUR)
    }

    /// An item of 10 bytes, last used so many hours ago.
    fn item(kind: Kind, id: &str, hours: u64) -> Item {
        let mut item = Item::empty(kind, id.to_owned(), Some(10));
        item.last_used = now() - Duration::from_secs(hours * HOUR);
        item
    }

    fn chosen(items: &[Item], request: &PruneRequest) -> Vec<String> {
        let inventory = Inventory { items: items.to_vec(), blobs: HashMap::new() };
        let choice = choose(&inventory, request, now(), 100);
        choice.into_iter().map(|index| items[index].id.clone()).collect()
    }

    fn limited(limits: Limits) -> PruneRequest {
        PruneRequest { limits, ..PruneRequest::default() }
    }

    #[test]
    fn names_and_use_keep_what_they_need() {
        let mut tagged = item(Kind::Image, "tagged", 100);
        tagged.tags.push("app".to_owned());
        let fresh = item(Kind::Image, "fresh", 1);
        let old = item(Kind::Image, "old", 50);
        let mut used = item(Kind::Regular, "used", 90);
        used.in_use = true;
        let mut foreign = item(Kind::Regular, "foreign", 90);
        foreign.foreign = true;
        let layer = |id: &str, images: &[usize]| {
            let mut layer = item(Kind::Regular, id, 200);
            layer.needed_by = images.to_vec();
            // As assembling does it: who uses the image uses its layers.
            layer.last_used = images
                .iter()
                .map(|image| [100, 1, 50][*image])
                .min()
                .map_or(layer.last_used, |hours| now() - Duration::from_secs(hours * HOUR));
            layer
        };
        let items = [
            tagged,
            fresh,
            old,
            used,
            foreign,
            layer("of tagged", &[0]),
            layer("of fresh", &[1]),
            layer("of old", &[2]),
            layer("of all", &[0, 1, 2]),
            layer("of old and fresh", &[1, 2]),
            layer("of none", &[]),
        ];
        assert_eq!(chosen(&items, &PruneRequest::default()), ["of none", "old", "of old"]);
        let all = PruneRequest { all: true, ..PruneRequest::default() };
        assert_eq!(
            chosen(&items, &all),
            ["of none", "old", "of old", "fresh", "of fresh", "of old and fresh"]
        );
    }

    #[test]
    fn the_least_recently_used_goes_first_and_children_before_parents() {
        let mut parent = item(Kind::Regular, "parent", 5);
        let mut child = item(Kind::Regular, "child", 5);
        (parent.depth, child.depth) = (0, 1);
        let items = [parent, item(Kind::Regular, "new", 1), child, item(Kind::Blob, "old", 9)];
        assert_eq!(chosen(&items, &PruneRequest::default()), ["old", "child", "parent", "new"]);
    }

    #[test]
    fn limits_say_where_to_stop() {
        let items: Vec<Item> = (0..5).map(|n| item(Kind::Regular, &n.to_string(), 10 - n)).collect();
        let count = |limits: Limits| chosen(&items, &limited(limits)).len();
        let none = Limits::default();
        assert_eq!(count(none), 5);
        assert_eq!(count(Limits { reserved: Some(20), ..none }), 3);
        assert_eq!(count(Limits { max_used: Some(35), ..none }), 2);
        assert_eq!(count(Limits { max_used: Some(1000), ..none }), 0);
        // 100 bytes are free.
        assert_eq!(count(Limits { min_free: Some(90), ..none }), 0);
        assert_eq!(count(Limits { min_free: Some(115), ..none }), 2);
        assert_eq!(count(Limits { min_free: Some(1000), ..none }), 5);
        assert_eq!(count(Limits { min_free: Some(1000), reserved: Some(40), ..none }), 1);
        assert_eq!(count(Limits { max_used: Some(10), reserved: Some(40), ..none }), 1);
    }

    #[test]
    fn filters_hold_together() {
        let items =
            [item(Kind::Regular, "abc", 30), item(Kind::Regular, "abd", 3), item(Kind::Blob, "abe", 30)];
        let with = |filter: Filter| chosen(&items, &PruneRequest { filter, ..PruneRequest::default() });
        let unused_for = Some(Duration::from_secs(24 * HOUR));
        assert_eq!(with(Filter { unused_for, ..Filter::default() }), ["abc", "abe"]);
        assert_eq!(with(Filter { unused_for, kinds: vec![Kind::Blob], ..Filter::default() }), ["abe"]);
        assert_eq!(with(Filter { ids: vec!["abd".to_owned()], ..Filter::default() }), ["abd"]);
        assert!(with(Filter { shared: Some(true), ..Filter::default() }).is_empty());
    }
}
