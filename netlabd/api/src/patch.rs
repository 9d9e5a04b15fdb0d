// SPDX-License-Identifier: GPL-3.0-or-later
//! Changes to objects as JSON: merge patches, and what an apply makes of a live object.
//!
//! Pure functions of values; what an object may be is not known here.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Applies a merge patch (RFC 7386): fields of `patch` replace those of `target`, null removes.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge_patch(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// What `live` becomes when `wanted` is applied, after `last_applied` was applied before.
///
/// What `wanted` names is as `wanted` says; what `last_applied` named and `wanted` does not is
/// removed; what neither names was set by somebody else and is kept. Lists are replaced whole,
/// except `env` and `ports`, whose entries are matched by name, or by number and protocol. A null
/// in `wanted` names nothing.
pub fn apply_merge(live: &Value, last_applied: Option<&Value>, wanted: &Value) -> Value {
    merge(None, Some(live), last_applied, wanted)
}

fn merge(field: Option<&str>, live: Option<&Value>, last: Option<&Value>, wanted: &Value) -> Value {
    match wanted {
        Value::Object(wanted) => Value::Object(merge_fields(
            live.and_then(Value::as_object),
            last.and_then(Value::as_object),
            wanted,
        )),
        Value::Array(items) => {
            merge_items(field, live, last, items).map_or_else(|| wanted.clone(), Value::Array)
        }
        _ => wanted.clone(),
    }
}

fn merge_fields(
    live: Option<&Map<String, Value>>,
    last: Option<&Map<String, Value>>,
    wanted: &Map<String, Value>,
) -> Map<String, Value> {
    let mut fields = live.cloned().unwrap_or_default();
    let is_wanted = |name: &String| wanted.get(name).is_some_and(|value| !value.is_null());
    for (name, was) in last.into_iter().flatten().filter(|(name, _)| !is_wanted(name)) {
        match (fields.get(name), was) {
            (Some(Value::Object(is)), Value::Object(was)) => {
                // Others may have set fields beside those that were applied.
                let rest = merge_fields(Some(is), Some(was), &Map::new());
                if rest.is_empty() {
                    fields.remove(name);
                } else {
                    fields.insert(name.clone(), Value::Object(rest));
                }
            }
            _ => {
                fields.remove(name);
            }
        }
    }
    for (name, value) in wanted.iter().filter(|(name, _)| is_wanted(name)) {
        let last = last.and_then(|last| last.get(name));
        let merged = merge(Some(name), fields.get(name), last, value);
        fields.insert(name.clone(), merged);
    }
    fields
}

/// The list as wanted, and after it what others added. `None` when the entries have no keys of
/// their own, by which they could be told apart.
fn merge_items(
    field: Option<&str>,
    live: Option<&Value>,
    last: Option<&Value>,
    wanted: &[Value],
) -> Option<Vec<Value>> {
    let items =
        |list: Option<&'_ Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
    let (live, last) = (items(live), items(last));
    let (live_keys, last_keys) = (keyed(field, &live)?, keyed(field, &last)?);
    let wanted_keys = keyed(field, wanted)?;
    let mut merged = Vec::new();
    for item in wanted {
        let key = key_of(field, item)?;
        merged.push(merge(None, live_keys.get(&key).copied(), last_keys.get(&key).copied(), item));
    }
    for item in &live {
        let key = key_of(field, item)?;
        if !wanted_keys.contains_key(&key) && !last_keys.contains_key(&key) {
            merged.push(item.clone());
        }
    }
    Some(merged)
}

/// The items by their keys; `None` when one has none or two have the same.
fn keyed<'a>(field: Option<&str>, items: &'a [Value]) -> Option<BTreeMap<String, &'a Value>> {
    let mut keyed = BTreeMap::new();
    for item in items {
        if keyed.insert(key_of(field, item)?, item).is_some() {
            return None;
        }
    }
    Some(keyed)
}

fn key_of(field: Option<&str>, item: &Value) -> Option<String> {
    match field {
        Some("env") => item.get("name")?.as_str().map(str::to_owned),
        Some("ports") => {
            // Two entries that differ in their protocol alone are two ports.
            let protocol = item.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
            Some(format!("{}/{protocol}", item.get("containerPort")?.as_u64()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
