//! What a check against a JSON Schema costs. A short schema can ask for any number of steps, as its parts may be named again and again;
//! one that does is refused when it is read, and an answer that takes too many steps is not checked. It checks no answer itself.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// A longer schema is refused.
const SCHEMA_BYTES_MAX: usize = 256 * 1024;
/// A schema of more parts is refused.
const PARTS_MAX: usize = 5_000;
/// A schema of more regular expressions is refused: each takes memory.
const PATTERNS_MAX: usize = 100;
/// So many parts may apply to one place of an answer, each as often as it is named.
const EXPANSION_MAX: u64 = 1_000;
/// So many parts may apply to one place of an answer by way of each other.
const IN_PLACE_DEPTH_MAX: usize = 64;
/// So deep may what is referred to nest, all of it together: reading a schema takes stack for it.
const HEIGHT_MAX: usize = 1_000;
/// So deep may parts nest while an answer is checked: that takes stack.
const CHECK_DEPTH_MAX: usize = 600;
/// So many steps a check may take.
pub(super) const STEPS_MAX: u64 = 10_000_000;
/// So many values to compare with are one step.
const VALUES_PER_STEP: usize = 16;

/// The parts of a schema, and which of them apply where.
pub(super) struct Plan {
    /// The first is the whole.
    parts: Vec<Part>,
}

/// One schema object, or `true` or `false`.
#[derive(Default)]
struct Part {
    weight: u64,
    /// What applies to the same place, and what of it is tried before it is told.
    in_place: Vec<Applied>,
    properties: HashMap<String, usize>,
    /// Where no property is named.
    additional: Vec<usize>,
    every_property: Vec<usize>,
    names: Vec<usize>,
    first_items: Vec<usize>,
    /// After the first ones.
    further_items: Vec<usize>,
    every_item: Vec<Applied>,
    /// It asks which properties or items others looked at, so they are gone through twice.
    looks_twice: bool,
}

#[derive(Clone, Copy)]
struct Applied {
    part: usize,
    /// Whether it fits is asked first, and why not after.
    is_tried: bool,
}

/// The steps of a check.
#[derive(Clone, Copy, Default)]
struct Steps {
    /// Of whether it fits.
    fits: u64,
    /// Of why it does not.
    faults: u64,
    depth: usize,
}

/// A check takes more steps, or more stack, than it may.
#[derive(Debug)]
pub(super) struct TooCostly;

impl Plan {
    /// The plan of a schema.
    ///
    /// # Errors
    /// What makes the schema too costly, and how to mend it.
    pub(super) fn of(schema: &Value) -> Result<Self, String> {
        let bytes = schema.to_string().len();
        if bytes > SCHEMA_BYTES_MAX {
            return Err(format!("it is {bytes} bytes long, more than {SCHEMA_BYTES_MAX}; take a shorter one"));
        }
        let mut survey =
            Survey { schema, ids: HashMap::new(), found: Vec::new(), targets: HashMap::new(), patterns: 0 };
        survey.id_of(schema);
        let mut parts = Vec::new();
        while let Some(part) = survey.found.get(parts.len()).copied() {
            if survey.found.len() > PARTS_MAX {
                return Err(format!("it has more than {PARTS_MAX} parts; take a smaller one"));
            }
            parts.push(survey.part(part)?);
        }
        if survey.patterns > PATTERNS_MAX {
            return Err(format!("it has more than {PATTERNS_MAX} patterns; use fewer"));
        }
        let height = height_of(schema) + survey.targets.values().sum::<usize>();
        if height > HEIGHT_MAX {
            return Err(format!("its references nest {height} deep, more than {HEIGHT_MAX}; use fewer of them"));
        }
        let plan = Self { parts };
        let mut known = vec![Expansion::Unknown; plan.parts.len()];
        for id in 0..plan.parts.len() {
            plan.expansion(id, 0, &mut known)?;
        }
        Ok(plan)
    }

    /// How many parts apply to the same place by way of this one.
    fn expansion(&self, id: usize, depth: usize, known: &mut [Expansion]) -> Result<u64, String> {
        match known.get(id) {
            Some(Expansion::Known(count)) => return Ok(*count),
            Some(Expansion::Begun) => {
                return Err(
                    "a part of it refers to itself at the same place of the answer, without end; let it refer to \
                            itself within `properties` or `items` only"
                        .to_owned(),
                );
            }
            Some(Expansion::Unknown) | None => {}
        }
        if depth > IN_PLACE_DEPTH_MAX {
            return Err(format!(
                "more than {IN_PLACE_DEPTH_MAX} of its parts refer to each other in a row; nest fewer"
            ));
        }
        note(known, id, Expansion::Begun);
        let mut count: u64 = 1;
        for applied in self.parts.get(id).map_or(&[][..], |part| &part.in_place) {
            count = count.saturating_add(self.expansion(applied.part, depth + 1, known)?);
        }
        if count > EXPANSION_MAX {
            return Err(format!(
                "more than {EXPANSION_MAX} of its parts apply to one place of the answer; name fewer in `allOf`, `anyOf`, `oneOf` and `$ref`"
            ));
        }
        note(known, id, Expansion::Known(count));
        Ok(count)
    }

    /// The steps that the check of a value takes, of those that are left.
    ///
    /// # Errors
    /// When it takes more, or too much stack.
    pub(super) fn steps(&self, value: &Value, left: u64) -> Result<u64, TooCostly> {
        let mut count = Count { plan: self, known: HashMap::new(), left };
        let steps = count.steps(0, value, 0)?;
        let steps_all = steps.fits.saturating_add(steps.faults);
        if steps_all > left || steps.depth > CHECK_DEPTH_MAX {
            return Err(TooCostly);
        }
        Ok(steps_all)
    }
}

#[derive(Clone)]
enum Expansion {
    Unknown,
    Begun,
    Known(u64),
}

fn note(known: &mut [Expansion], id: usize, expansion: Expansion) {
    if let Some(place) = known.get_mut(id) {
        *place = expansion;
    }
}

/// Finds the parts of a schema.
struct Survey<'a> {
    schema: &'a Value,
    /// By the address of the part.
    ids: HashMap<*const Value, usize>,
    found: Vec<&'a Value>,
    /// What is referred to, and how deep it nests.
    targets: HashMap<*const Value, usize>,
    patterns: usize,
}

impl<'a> Survey<'a> {
    fn id_of(&mut self, part: &'a Value) -> usize {
        let id = *self.ids.entry(std::ptr::from_ref(part)).or_insert(self.found.len());
        if id == self.found.len() {
            self.found.push(part);
        }
        id
    }

    fn part(&mut self, value: &'a Value) -> Result<Part, String> {
        let mut part = Part { weight: 1, ..Part::default() };
        let Value::Object(keywords) = value else { return Ok(part) };
        let values: usize = keywords.iter().map(|(keyword, value)| compared(keyword, value)).sum();
        part.weight += u64::try_from(values / VALUES_PER_STEP).unwrap_or(u64::MAX);
        part.looks_twice =
            ["unevaluatedProperties", "unevaluatedItems"].iter().any(|name| keywords.contains_key(*name));
        self.refuse_other_bases(value, keywords)?;
        for (keyword, value) in keywords {
            match keyword.as_str() {
                "$ref" => {
                    let target = self.target(value)?;
                    part.in_place.push(Applied { part: self.id_of(target), is_tried: false });
                }
                "not" | "if" => part.in_place.push(Applied { part: self.id_of(value), is_tried: true }),
                "then" | "else" | "contentSchema" => {
                    part.in_place.push(Applied { part: self.id_of(value), is_tried: false });
                }
                "allOf" | "anyOf" | "oneOf" | "dependentSchemas" | "dependencies" => {
                    let is_tried = matches!(keyword.as_str(), "anyOf" | "oneOf");
                    let applied = self.ids_within(value).into_iter().map(|part| Applied { part, is_tried });
                    part.in_place.extend(applied);
                }
                "properties" => {
                    let properties = value.as_object().into_iter().flatten();
                    part.properties = properties.map(|(name, value)| (name.clone(), self.id_of(value))).collect();
                }
                "additionalProperties" => part.additional.push(self.id_of(value)),
                "pattern" => self.patterns += 1,
                "patternProperties" => {
                    let parts = self.ids_within(value);
                    self.patterns += parts.len();
                    part.every_property.extend(parts);
                }
                "unevaluatedProperties" => part.every_property.push(self.id_of(value)),
                "propertyNames" => part.names.push(self.id_of(value)),
                "prefixItems" => part.first_items = self.ids_within(value),
                "items" if value.is_array() => part.first_items = self.ids_within(value),
                "items" | "additionalItems" => part.further_items.push(self.id_of(value)),
                "contains" => part.every_item.push(Applied { part: self.id_of(value), is_tried: true }),
                "unevaluatedItems" => part.every_item.push(Applied { part: self.id_of(value), is_tried: false }),
                _ => {}
            }
        }
        Ok(part)
    }

    fn ids_within(&mut self, value: &'a Value) -> Vec<usize> {
        match value {
            Value::Array(parts) => parts.iter().map(|part| self.id_of(part)).collect(),
            Value::Object(parts) => parts.values().map(|part| self.id_of(part)).collect(),
            _ => Vec::new(),
        }
    }

    /// What a reference names can only be told where all of them begin at the whole schema.
    fn refuse_other_bases(&self, value: &Value, keywords: &Map<String, Value>) -> Result<(), String> {
        for keyword in ["$dynamicRef", "$recursiveRef"] {
            if keywords.contains_key(keyword) {
                return Err(format!("it has a `{keyword}`; use a `$ref` that is `#` or begins with `#/`"));
            }
        }
        let is_within = !std::ptr::eq(value, self.schema);
        for keyword in ["$id", "id"] {
            if is_within && keywords.get(keyword).is_some_and(Value::is_string) {
                return Err(format!("a part of it has an `{keyword}` of its own; take it away"));
            }
        }
        Ok(())
    }

    fn target(&mut self, reference: &Value) -> Result<&'a Value, String> {
        let text = reference.as_str().unwrap_or_default();
        let pointer = text.strip_prefix('#').filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
        let pointer = pointer.ok_or_else(|| {
            format!("its reference {reference} does not lie in itself; use `#`, or one that begins with `#/`, as `#/$defs/item`")
        })?;
        let target = percent_decoded(pointer).and_then(|pointer| self.schema.pointer(&pointer));
        let target =
            target.ok_or_else(|| format!("its reference {reference} names nothing in it; add what it names"))?;
        self.targets.entry(std::ptr::from_ref(target)).or_insert_with(|| height_of(target));
        Ok(target)
    }
}

/// A pointer without its percent encoding, which it has in a reference.
fn percent_decoded(pointer: &str) -> Option<String> {
    let mut pieces = pointer.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(piece.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(piece.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// How many values a keyword compares with.
fn compared(keyword: &str, value: &Value) -> usize {
    match (keyword, value) {
        ("$defs" | "definitions", _) => 0,
        ("enum" | "const", value) => values_in(value),
        (_, Value::Array(values)) => values.len(),
        (_, Value::Object(values)) => values.len(),
        _ => 1,
    }
}

fn values_in(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(values_in).sum::<usize>(),
        Value::Object(values) => 1 + values.values().map(values_in).sum::<usize>(),
        _ => 1,
    }
}

/// How deep it nests, without what it only holds for references.
fn height_of(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(height_of).max().unwrap_or(0),
        Value::Object(values) => {
            let values = values.iter().filter(|(name, _)| !matches!(name.as_str(), "$defs" | "definitions"));
            1 + values.map(|(_, value)| height_of(value)).max().unwrap_or(0)
        }
        _ => 0,
    }
}

/// Counts the steps of a check. What is met again is counted again, but not gone through again.
struct Count<'a> {
    plan: &'a Plan,
    /// By part and the address of the value.
    known: HashMap<(usize, *const Value), Steps>,
    left: u64,
}

/// Stands for the name of a property: nothing lies within.
static NAME: Value = Value::Null;

impl Count<'_> {
    fn steps(&mut self, id: usize, value: &Value, depth: usize) -> Result<Steps, TooCostly> {
        let key = (id, std::ptr::from_ref(value));
        if let Some(steps) = self.known.get(&key) {
            return Ok(*steps);
        }
        // Each part that meets a value takes a step at least.
        if depth > CHECK_DEPTH_MAX || u64::try_from(self.known.len()).is_ok_and(|known| known > self.left) {
            return Err(TooCostly);
        }
        let plan = self.plan;
        let Some(part) = plan.parts.get(id) else { return Ok(Steps::default()) };
        let mut steps = Steps::default();
        for applied in &part.in_place {
            self.add(&mut steps, *applied, value, depth)?;
        }
        match value {
            Value::Object(properties) => {
                for (name, value) in properties {
                    let named = part.properties.get(name);
                    let others = part.additional.iter().filter(|_| named.is_none());
                    for id in named.into_iter().chain(others).chain(&part.every_property) {
                        self.add(&mut steps, Applied { part: *id, is_tried: false }, value, depth)?;
                    }
                    for id in &part.names {
                        self.add(&mut steps, Applied { part: *id, is_tried: false }, &NAME, depth)?;
                    }
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    let first = part.first_items.get(index);
                    let further = part.further_items.iter().filter(|_| first.is_none());
                    for id in first.into_iter().chain(further) {
                        self.add(&mut steps, Applied { part: *id, is_tried: false }, value, depth)?;
                    }
                    for applied in &part.every_item {
                        self.add(&mut steps, *applied, value, depth)?;
                    }
                }
            }
            _ => {}
        }
        if part.looks_twice {
            steps.faults = steps.faults.saturating_add(steps.fits);
            steps.fits = steps.fits.saturating_mul(2);
        }
        steps.fits = steps.fits.saturating_add(part.weight);
        steps.faults = steps.faults.saturating_add(part.weight);
        steps.depth += 1;
        self.known.insert(key, steps);
        Ok(steps)
    }

    fn add(&mut self, sum: &mut Steps, applied: Applied, value: &Value, depth: usize) -> Result<(), TooCostly> {
        let steps = self.steps(applied.part, value, depth + 1)?;
        let tried = if applied.is_tried { steps.fits } else { 0 };
        sum.fits = sum.fits.saturating_add(steps.fits);
        sum.faults = sum.faults.saturating_add(steps.faults).saturating_add(tried);
        sum.depth = sum.depth.max(steps.depth);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Shape;
    use super::*;

    fn refusal(schema: &Value) -> String {
        Shape::of(schema).map(|_| ()).unwrap_err().message
    }

    /// A list of definitions, each made from the number of the next.
    fn chain(length: usize, link: impl Fn(String) -> Value) -> Value {
        let mut defs = Map::new();
        for number in 0..length {
            defs.insert(format!("d{number}"), link(format!("#/$defs/d{}", number + 1)));
        }
        defs.insert(format!("d{length}"), json!({"type": "integer"}));
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    }

    /// The value within as many objects as told.
    fn nested(depth: usize, name: &str, innermost: Value) -> Value {
        (0..depth).fold(innermost, |value, _| json!({ name: value }))
    }

    fn node() -> Value {
        json!({
            "type": "object",
            "properties": {"value": {"type": "number"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "additionalProperties": false,
            "required": ["next", "value"]
        })
    }

    #[test]
    fn a_schema_that_names_its_parts_again_and_again_is_refused() {
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let doubled = |depth| chain(depth, |next| json!({ keyword: [{"$ref": next}, {"$ref": next}] }));
            assert!(refusal(&doubled(20)).contains("apply to one place"), "{}", refusal(&doubled(20)));
            assert!(refusal(&doubled(60)).contains("in a row"), "{}", refusal(&doubled(60)));
        }
        let schema = chain(30, |next| json!({"not": {"$ref": next}, "if": {"$ref": next}, "then": {"$ref": next}}));
        assert!(refusal(&schema).contains("apply to one place"));
        let schema = chain(30, |next| json!({"dependentSchemas": {"a": {"$ref": next}, "b": {"$ref": next}}}));
        assert!(refusal(&schema).contains("apply to one place"));
        assert!(refusal(&chain(100, |next| json!({ "$ref": next }))).contains("in a row"));
    }

    #[test]
    fn a_schema_that_refers_to_itself_at_the_same_place_is_refused() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"anyOf": [{"type": "null"}, {"$ref": "#"}]}),
            json!({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        ] {
            assert!(refusal(&schema).contains("without end"), "{schema}");
        }
    }

    #[test]
    fn a_schema_whose_references_cannot_be_followed_is_refused() {
        for (schema, told) in [
            (json!({"$ref": "#item", "$defs": {"item": {"$anchor": "item"}}}), "begins with `#/`"),
            (json!({"$ref": "https://json-schema.org/draft/2020-12/schema"}), "begins with `#/`"),
            (json!({"properties": {"a": {"$dynamicRef": "#a"}}}), "`$dynamicRef`"),
            (json!({"properties": {"a": {"$recursiveRef": "#"}}}), "`$recursiveRef`"),
            (json!({"$ref": "#/$defs/none"}), "names nothing"),
            (
                json!({"properties": {"a": {"$id": "http://a.test/", "$ref": "#/$defs/b", "$defs": {"b": {}}}}}),
                "of its own",
            ),
        ] {
            assert!(refusal(&schema).contains(told), "{}", refusal(&schema));
        }
    }

    #[test]
    fn a_schema_that_is_too_large_is_refused() {
        let properties =
            |count: usize| (0..count).map(|number| (format!("p{number}"), json!({}))).collect::<Map<_, _>>();
        assert!(refusal(&json!({"properties": properties(5_000)})).contains("parts"));
        assert!(refusal(&json!({"description": "a".repeat(SCHEMA_BYTES_MAX)})).contains("bytes long"));
        let schema = chain(400, |next| json!({"properties": {"a": {"$ref": next}}}));
        assert!(refusal(&schema).contains("nest"), "{}", refusal(&schema));
        let patterns: Vec<Value> = (0..=PATTERNS_MAX).map(|_| json!({"pattern": "a"})).collect();
        assert!(refusal(&json!({ "anyOf": patterns })).contains("patterns"));
        assert!(Shape::of(&json!({"properties": properties(1_000)})).is_ok());
    }

    #[test]
    fn a_schema_at_the_bounds_is_read_and_checked_on_the_stack_there_is() {
        let shape = Shape::of(&chain(320, |next| json!({"properties": {"a": {"$ref": next}}}))).unwrap();
        assert!(shape.check(&nested(100, "a", json!({})).to_string()).is_ok());
        let wrapped = (0..10).fold(json!({"$ref": "#"}), |schema, _| json!({"allOf": [schema]}));
        let shape = Shape::of(&json!({"properties": {"a": wrapped}})).unwrap();
        assert!(shape.check(&nested(45, "a", json!(1)).to_string()).is_ok());
        assert!(shape.check(&nested(100, "a", json!(1)).to_string()).unwrap_err().contains("takes too long"));
    }

    #[test]
    fn recursive_schemas_of_the_ordinary_kind_are_taken_with_their_answers() {
        let list =
            json!({"type": "object", "properties": {"list": {"$ref": "#/$defs/node"}}, "$defs": {"node": node()}});
        let nodes = (0..100).fold(Value::Null, |next, value| json!({"value": value, "next": next}));
        let tree = json!({
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["div", "button", "header", "section", "field", "form"]},
                "label": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#"}}
            },
            "required": ["type", "label", "children"],
            "additionalProperties": false
        });
        let branch = (0..6).fold(json!([]), |children, _| {
            let element = json!({"type": "div", "label": "a", "children": children});
            json!([element, element, element])
        });
        let page = json!({"type": "form", "label": "a", "children": branch});
        for (schema, answer) in [(list, json!({"list": nodes})), (tree, page)] {
            let shape = Shape::of(&schema).unwrap();
            assert_eq!(shape.check(&answer.to_string()), Ok(answer.to_string().as_str()));
        }
    }

    #[test]
    fn a_syntax_tree_of_several_kinds_is_taken_with_its_answers() {
        let two = |kind: &str| {
            let operand = json!({"$ref": "#/$defs/expression"});
            json!({"properties": {"kind": {"const": kind}, "left": operand, "right": operand}, "required": ["kind", "left", "right"]})
        };
        let number = json!({"properties": {"kind": {"const": "number"}, "value": {"type": "number"}}, "required": ["kind", "value"]});
        let kinds = json!([number, two("add"), two("subtract"), two("multiply"), two("divide")]);
        let schema = json!({"$ref": "#/$defs/expression", "$defs": {"expression": {"type": "object", "anyOf": kinds}}});
        let shape = Shape::of(&schema).unwrap();
        let leaf = json!({"kind": "number", "value": 1});
        let tree = (0..5).fold(leaf, |operand, _| json!({"kind": "divide", "left": operand, "right": operand}));
        assert!(shape.check(&tree.to_string()).is_ok());
    }

    #[test]
    fn a_reference_may_be_percent_encoded() {
        let schema = json!({"$ref": "#/$defs/a%20b~1c", "$defs": {"a b/c": {"type": "integer"}}});
        assert_eq!(Shape::of(&schema).unwrap().check("1"), Ok("1"));
    }

    #[test]
    fn what_looks_at_the_whole_twice_at_each_level_is_counted_so() {
        let schema = json!({"allOf": [{"properties": {"a": {"$ref": "#"}}}], "unevaluatedProperties": false});
        let plan = Plan::of(&schema).unwrap();
        assert!(plan.steps(&nested(5, "a", json!({})), STEPS_MAX).is_ok());
        assert!(plan.steps(&nested(60, "a", json!({})), STEPS_MAX).is_err());
    }
}
