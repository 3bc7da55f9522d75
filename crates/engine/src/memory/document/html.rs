//! HTML: what a reader sees of it, as Markdown. Scripts, navigation and hidden elements are left out: what nobody sees is where
//! orders to a model are put.

use std::rc::Rc;

use htmd::element_handler::{HandlerResult, Handlers};
use htmd::options::{BrStyle, Options};
use htmd::{Element, HtmlToMarkdown, Node};
use markup5ever_rcdom::NodeData;

use super::plain::check_bytes;
use super::{Document, DocumentError, DocumentKind, DocumentLimits, markdown};

/// Elements inside one another. The conversion calls itself for each.
const DEPTH_MAX: usize = 200;
/// Elements whose content is no text of the document.
const SKIPPED: [&str; 20] = [
    "script", "style", "noscript", "template", "head", "nav", "iframe", "object", "embed", "svg", "math", "canvas",
    "audio", "video", "button", "select", "input", "textarea", "dialog", "map",
];

pub(super) fn read(html: &str, limits: &DocumentLimits) -> Result<Document, DocumentError> {
    check_bytes(html.len(), limits)?;
    let options =
        Options { br_style: BrStyle::Backslash, ul_bullet_spacing: 1, ol_number_spacing: 1, ..Options::default() };
    let converter = HtmlToMarkdown::builder()
        .options(options)
        .scripting_enabled(false)
        .skip_tags(SKIPPED.to_vec())
        .add_handler(vec!["a"], only_content)
        .add_handler(vec!["img"], alternative_text)
        .build();
    let malformed = |reason: String| DocumentError::Malformed { kind: DocumentKind::Html, reason };
    let tree = converter.html_to_tree(html).map_err(|error| malformed(error.to_string()))?;
    let title = prune(&tree).map_err(malformed)?;
    let text = converter.tree_to_markdown(&tree);
    let mut document = markdown::read(&text, limits)?;
    document.title = title.filter(|title| !title.trim().is_empty()).or(document.title);
    Ok(document)
}

/// Of a link its words: addresses say little and are long.
fn only_content(handlers: &dyn Handlers, element: Element<'_>) -> Option<HandlerResult> {
    Some(handlers.walk_children(element.node))
}

/// Of a picture what it shows; never its address, which may hold all of it.
fn alternative_text(_: &dyn Handlers, element: Element<'_>) -> Option<HandlerResult> {
    let text = element.attrs.iter().find(|attribute| &*attribute.name.local == "alt")?;
    Some(HandlerResult::from(text.value.to_string()))
}

/// Takes out what is hidden, bounds the depth, and finds the title. It does not call itself.
fn prune(tree: &Rc<Node>) -> Result<Option<String>, String> {
    let mut title = None;
    let mut open = vec![(tree.clone(), 0_usize)];
    while let Some((node, depth)) = open.pop() {
        if depth > DEPTH_MAX {
            return Err(format!("its elements are more than {DEPTH_MAX} deep"));
        }
        if title.is_none() && is_title(&node) {
            title = Some(text_of(&node));
        }
        node.children.borrow_mut().retain(|child| !is_hidden(child));
        open.extend(node.children.borrow().iter().map(|child| (child.clone(), depth + 1)));
    }
    Ok(title)
}

fn is_title(node: &Node) -> bool {
    matches!(&node.data, NodeData::Element { name, .. } if &*name.local == "title")
}

fn text_of(node: &Node) -> String {
    let mut text = String::new();
    for child in node.children.borrow().iter() {
        if let NodeData::Text { contents } = &child.data {
            text.push_str(&contents.borrow());
        }
    }
    text
}

fn is_hidden(node: &Node) -> bool {
    let attributes = match &node.data {
        NodeData::Element { attrs, .. } => attrs.borrow(),
        NodeData::Comment { .. } | NodeData::ProcessingInstruction { .. } => return true,
        NodeData::Document | NodeData::Doctype { .. } | NodeData::Text { .. } => return false,
    };
    attributes.iter().any(|attribute| match &*attribute.name.local {
        "hidden" => true,
        "aria-hidden" => attribute.value.trim().eq_ignore_ascii_case("true"),
        "style" => {
            let style: String = attribute.value.chars().filter(|c| !c.is_whitespace()).collect();
            let style = style.to_ascii_lowercase();
            ["display:none", "visibility:hidden", "font-size:0", "opacity:0;"].iter().any(|word| style.contains(word))
                || style.ends_with("opacity:0")
        }
        _ => false,
    })
}
